"""The time of a virtual board: real time, without what only an emulator needs.

Left out are the time in which the network is computed and the time a request is on its way between
the board's program and the logic. So a deadline never blames the emulator for being slow, a run takes
what the cycle model says, and a program's own time counts as it passes.

A processor that spins on a status register does nothing else, so the clock may skip to the moment it
waits for (`skip_to`): a long run, or a stuck DMA, need not be waited for in real time.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class DeviceClock:
    """A monotonic clock, s, that can stand still and skip. Not thread-safe: its owner holds a lock.

    Args:
        wall_s: The clock it follows; a test passes its own.
    """

    def __init__(self, wall_s: Callable[[], float] = time.monotonic) -> None:
        self._wall_s = wall_s
        self._lost_s = wall_s()  # so that a board's time begins at 0
        self._seen_s = 0.0
        self._holders = 0

    def now_s(self) -> float:
        """The board's time, s."""
        if not self._holders:
            self._seen_s = max(self._seen_s, self._wall_s() - self._lost_s)  # rounding must not turn it back
        return self._seen_s

    def freeze(self) -> None:
        """Stand still until as many `thaw` follow."""
        self.now_s()
        self._holders += 1

    def thaw(self) -> None:
        """Go on where the clock stood."""
        self._holders -= 1
        if not self._holders:
            self._lost_s = self._wall_s() - self._seen_s

    def lose(self, seconds: float) -> None:
        """Take back time that passed although nothing happened on the board, as far as nobody has seen it."""
        if not self._holders:
            unseen_s = self._wall_s() - self._lost_s - self._seen_s
            self._lost_s += min(max(seconds, 0.0), unseen_s)

    def skip_to(self, moment_s: float) -> None:
        """Go forward to *moment_s* at once, also where the clock stands still; never back."""
        ahead_s = moment_s - self.now_s()
        if ahead_s > 0:
            self._lost_s -= ahead_s
            self._seen_s = moment_s
