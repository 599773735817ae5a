"""Waiting for what another process does, with a deadline."""

import time

PATIENCE_S = 10.0


def eventually(what, condition):
    """Wait until *condition* is true; fail and name *what* where that takes too long."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"after {PATIENCE_S} s still not: {what}"
        time.sleep(0.01)
