"""Protecting people's own pictures: noise is made from captions on one machine and added to pictures on another."""
