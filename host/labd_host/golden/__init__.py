"""The golden model: what an accelerator computes, to the bit."""
