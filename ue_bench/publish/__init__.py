"""Protecting people's own pictures: noise from captions where the pictures are not, added where they are."""
