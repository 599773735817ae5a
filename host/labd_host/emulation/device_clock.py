"""The time of a virtual board: real time, without the time the emulator needed to compute.

A deadline measured on it never blames the emulator for being slow, and a DMA that is stuck still
runs into it: nothing is computed then, so the clock does not stand still.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class DeviceClock:
    """A monotonic clock, s, that can stand still. Not thread-safe: its owner holds a lock.

    Args:
        wall_s: The clock it follows; a test passes its own.
    """

    def __init__(self, wall_s: Callable[[], float] = time.monotonic) -> None:
        self._wall_s = wall_s
        self._lost_s = wall_s()  # so that a board's time begins at 0
        self._frozen_at_s: float | None = None
        self._holders = 0

    def now_s(self) -> float:
        """The board's time, s."""
        if self._frozen_at_s is not None:
            return self._frozen_at_s
        return self._wall_s() - self._lost_s

    @property
    def is_frozen(self) -> bool:
        """Whether the emulator is computing."""
        return self._holders > 0

    def freeze(self) -> None:
        """Stand still until as many `thaw` follow."""
        if not self._holders:
            self._frozen_at_s = self.now_s()
        self._holders += 1

    def thaw(self) -> None:
        """Go on where the clock stood."""
        self._holders -= 1
        if not self._holders and self._frozen_at_s is not None:
            self._lost_s = self._wall_s() - self._frozen_at_s
            self._frozen_at_s = None
