"""What is installed into a virtual board's Python; nothing of it runs in the host's."""
