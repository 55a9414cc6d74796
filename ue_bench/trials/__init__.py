"""Plans trials, runs those that are missing, and stores their results."""
