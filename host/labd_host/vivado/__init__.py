"""The hardware build: Vivado and Vitis HLS found and run, their logs, reports and products read."""
