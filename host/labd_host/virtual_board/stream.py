"""The frames inside the accelerator, on their way from the input DMA to an output DMA.

It is first in, first out, as on silicon: frames that no output transfer asked for stay inside and
come out first next time, and an output transfer that asks for more than were put in keeps waiting.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Moments = npt.NDArray[np.float64]


@dataclass
class _FramesLeaving:
    """Frames of one input transfer: packed, (n, frame bytes), and when each can leave, (n,)."""

    frames: Frames
    leaving_s: Moments
    interval_s: float


class Stream:
    """One output of the accelerator."""

    def __init__(self) -> None:
        self._runs: deque[_FramesLeaving] = deque()
        self._last_s = float("-inf")  # when the latest frame left

    def __len__(self) -> int:
        """Frames inside."""
        return sum(len(run.frames) for run in self._runs)

    def put(self, frames: Frames, leaving_s: Moments, interval_s: float) -> None:
        """Add frames: each can leave at its *leaving_s*, and *interval_s* after the one before it."""
        if len(frames):
            self._runs.append(_FramesLeaving(frames, leaving_s, interval_s))

    def take(self, most: int, start_s: float) -> tuple[Frames, float]:
        """Let at most *most* frames leave, from *start_s* on at the earliest.

        Returns:
            The frames, fewer where not as many are inside, and when the last of them has left, s.
        """
        pieces: list[Frames] = []
        finish_s = start_s
        while most and self._runs:
            run = self._runs[0]
            taken = run.frames[:most]
            begin_s = max(start_s, self._last_s + run.interval_s)
            waited_s = begin_s + (len(taken) - 1) * run.interval_s
            self._last_s = finish_s = max(waited_s, float(run.leaving_s[len(taken) - 1]))
            pieces.append(taken)
            most -= len(taken)
            run.frames, run.leaving_s = run.frames[len(taken) :], run.leaving_s[len(taken) :]
            if not len(run.frames):
                self._runs.popleft()
        return (np.concatenate(pieces) if pieces else np.zeros((0, 0), np.uint8)), finish_s
