"""Vivado and Vitis HLS: found, asked, run, followed, and their logs and reports read."""
