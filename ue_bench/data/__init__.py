"""Image sets in memory: how they are read, hashed and cached."""
