"""Designs between labd and FINN's own tools: what others built comes in, what labd built goes out."""
