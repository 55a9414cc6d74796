"""MEM's own parts: its trigger words and how they are searched."""
