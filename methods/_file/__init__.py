"""Reads somebody else's noise from arrays or pictures, and finds out what it is."""
