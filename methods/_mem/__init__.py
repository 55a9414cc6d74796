"""MEM's own parts: its triggers, and the search for them."""
