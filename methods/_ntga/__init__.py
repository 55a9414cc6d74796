"""What only NTGA needs."""
