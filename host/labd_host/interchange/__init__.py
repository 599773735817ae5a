"""Designs from and for FINN's own tools: import and export."""
