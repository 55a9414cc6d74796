"""Training-time defenses, one module each."""
