"""The emulated PYNQ-Z2: programmable logic, clock, memory, and the SSH server in front of them."""
