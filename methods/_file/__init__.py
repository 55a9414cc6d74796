"""Reading of somebody else's noise: arrays, pictures, and what they are."""
