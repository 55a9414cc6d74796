"""TUE's own parts."""
