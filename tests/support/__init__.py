"""Builders that several test files use. Python 3.6 code."""
