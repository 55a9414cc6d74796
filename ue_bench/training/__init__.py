"""How victims and surrogates are trained."""
