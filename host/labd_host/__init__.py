"""Builds FINN accelerators, looks after boards, and proves what they compute."""
