"""The papers' printed numbers (published.csv), and in the repository the tables measured here."""
