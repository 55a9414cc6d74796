"""Figures that explain one trial: what its victim learned about clean and published examples."""
