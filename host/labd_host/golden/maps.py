"""How the values between two steps of the compiled golden model lie in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import Array
from labd_host.golden.vectors import LANES, ROWS
from labd_shared.datatypes import Datatype

SPARE = 2 * LANES  # entries behind a map that a vector may read

Entries = npt.NDArray[Any]


@dataclass(frozen=True)
class Map:
    """How the values between two steps lie: pixels times *width* entries of *dtype*.

    Attributes:
        channels: Values of a pixel. In a map of bits (uint32) an entry holds LANES of them.
    """

    pixels: int
    channels: int
    dtype: np.dtype[Any]
    width: int

    @property
    def bits(self) -> bool:
        """Whether an entry is a word of bits."""
        return self.dtype == np.uint32

    @property
    def frame_bytes(self) -> int:
        """Of one frame."""
        return self.pixels * self.width * self.dtype.itemsize

    def allocate(self, frames: int) -> Entries:
        """Zeros for *frames*, for whole groups of ROWS pixels, and SPARE behind."""
        return np.zeros(round_up(frames * self.pixels, ROWS) * self.width + SPARE, self.dtype)

    def view(self, entries: Entries, frames: int) -> Entries:
        """The entries of *frames*, (frames, pixels, width)."""
        return entries[: frames * self.pixels * self.width].reshape(frames, self.pixels, self.width)

    def values(self, entries: Entries, frames: int) -> Array:
        """The values, (frames, pixels * channels); a copy for bits only."""
        whole = self.view(entries, frames)
        if self.bits:
            whole = np.unpackbits(whole.astype("<u4").view(np.uint8), axis=2, bitorder="little")
        return whole[:, :, : self.channels].reshape(frames, self.pixels * self.channels)


def bits_map(pixels: int, channels: int) -> Map:
    """Pixels of *channels* bits."""
    return Map(pixels, channels, np.dtype(np.uint32), round_up(channels, LANES) // LANES)


def plain_map(pixels: int, channels: int, kind: Datatype) -> Map:
    """Values of *kind*: 16 bits, with one to spare for a threshold above all, or 64."""
    narrow = kind.low >= -(1 << 15) and kind.high < (1 << 15) - 1
    return Map(pixels, channels, np.dtype(np.int16 if narrow else np.int64), channels)


def round_up(number: int, multiple: int) -> int:
    """*number*, or the next multiple of *multiple*."""
    return -(-number // multiple) * multiple
