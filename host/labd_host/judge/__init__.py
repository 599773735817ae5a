"""How good a classifier is, and where two of them differ."""
