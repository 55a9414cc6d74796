"""One YAML a suite."""
