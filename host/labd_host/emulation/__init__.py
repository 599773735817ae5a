"""What stands in for hardware: the golden model and the virtual boards."""
