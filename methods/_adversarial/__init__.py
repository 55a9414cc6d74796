"""What TAP and UAP share."""
