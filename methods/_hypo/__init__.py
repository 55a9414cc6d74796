"""What only the robust hypocritical method needs."""
