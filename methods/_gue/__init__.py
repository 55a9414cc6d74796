"""What only GUE needs."""
