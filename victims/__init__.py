"""One module per victim; its file's name is its name on the command line and in tables."""
