"""What this machine needs, and whether it has it."""
