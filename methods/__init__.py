"""One module per method; its file's name is its name on the command line and in tables."""
