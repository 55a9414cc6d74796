"""What methods that make adversarial examples share."""
