"""This machine: places, downloads, locks, child processes, host keys."""
