"""What host and board must agree on: errors, formats, packing, registers."""

__version__ = "0.1.0"
