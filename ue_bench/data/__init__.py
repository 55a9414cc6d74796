"""Image sets in memory, how they are hashed and cached, and the datasets that fill them."""
