"""The papers' printed numbers (published.csv), and in the repository the tables that this project measured."""
