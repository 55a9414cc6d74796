"""What is to be done, what is done, and doing the rest."""
