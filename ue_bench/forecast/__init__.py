"""Predicts the cost of the remaining work, from records and from measurements on slices of the data."""
