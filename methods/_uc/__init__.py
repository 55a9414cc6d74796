"""UC's own parts: clusters, features of images, and the generator."""
