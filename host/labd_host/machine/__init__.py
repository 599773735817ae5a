"""This machine: places, downloads, locks, processes, host keys."""
