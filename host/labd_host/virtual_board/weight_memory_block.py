"""The AXI-lite port of a layer whose weights are written at run time, and a network that follows what it holds.

The layer's stream reads ahead of the layer: what was written comes too late for the lines that it has
fetched already.

Source: finn-plus 1.6.1, finn-rtllib/axi/hdl/axilite.sv (words of a line), memstream/hdl/memstream.sv
(FULL_CREDIT).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from labd_host.dataflow.layers import Array, Mvau
from labd_host.dataflow.weight_memory import (
    WORD_BITS,
    WORD_BYTES,
    Words,
    weights_of,
    words_of,
)
from labd_host.virtual_board.blocks import RegisterFile
from labd_shared.errors import BusFault

FETCHED_LINES = 8  # memstream.sv: FULL_CREDIT


class WeightMemory(RegisterFile):
    """The AXI-lite port of one layer's weights.

    A line is stored when its last word is written, and fetched when its first word is read: the words
    between come from a register.

    Args:
        name, base, size_bytes: The block.
        layer: Whose weights these are.
        weights: (mw, mh), what the bitfile holds.

    Attributes:
        stores: Lines stored since.
    """

    def __init__(self, name: str, base: int, size_bytes: int, layer: Mvau, weights: Array) -> None:
        super().__init__(name, base, size_bytes)
        self.layer, self.stores = layer, 0
        self._used = -(-layer.weight_bits // WORD_BITS)  # words of a line that hold bits
        self._last_mask = (1 << (layer.weight_bits - WORD_BITS * (self._used - 1))) - 1
        self._lines = words_of(layer, weights).reshape(layer.weight_words, -1)
        self._written, self._read = np.zeros(self._used, np.uint32), self._lines[0].copy()
        self._fetched = self._ahead()

    def peek(self, offset: int) -> int:
        line, word = self._place(offset)
        return int(self._lines[line, word])

    def read(self, offset: int) -> int:
        line, word = self._place(offset)
        if word == 0:
            self._read = self._lines[line].copy()
        return int(self._read[word])

    def write(self, offset: int, value: int) -> bool:
        line, word = self._place(offset)
        if word < self._used:
            self._written[word] = value & (self._last_mask if word == self._used - 1 else 0xFFFF_FFFF)
        if word == self._used - 1:
            self._lines[line, : self._used] = self._written
            self.stores += 1
        return False

    @property
    def settled(self) -> bool:
        """Whether the lines that were fetched ahead are what the memory holds."""
        return np.array_equal(self._fetched, self._ahead())

    def weights(self) -> Array:
        """What the memory holds, (mw, mh)."""
        return weights_of(self.layer, self._lines.reshape(-1))

    def next_frame(self) -> Array:
        """The weights (mw, mh) that the next frame meets; it takes them, and others are fetched.

        Of the lines fetched ahead those of the first pass count; a layer of several vectors a frame meets
        them in its first vectors only.
        """
        number = len(self._lines)
        met = self._lines.copy()
        first = min(number, FETCHED_LINES)
        met[:first] = self._fetched[:first]
        left = self._fetched[number * self.layer.vectors :]
        self._fetched = self._ahead()
        self._fetched[: len(left)] = left
        return weights_of(self.layer, met.reshape(-1))

    def _ahead(self) -> Words:
        """The lines that a stream fetches now, from the beginning of a frame."""
        return self._lines[np.arange(FETCHED_LINES) % len(self._lines)]

    def _place(self, offset: int) -> tuple[int, int]:
        line, word = divmod(offset // WORD_BYTES, self._lines.shape[1])
        if line >= len(self._lines):
            raise BusFault(
                f"{self.name} + {offset:#x} is behind the {self._lines.size} words of {self.layer.name}",
                fix="write the weights of this design: build or import the bundle again",
                address=self.base + offset,
            )
        return line, word


class Rewritable(Protocol):
    """A network that computes with other weights, too: `labd_host.golden.golden_model.GoldenModel`."""

    def run(self, images: Array, /) -> Any:
        """An object whose ``outputs`` are the arrays (N, *normal[1:]) of the accelerator's outputs."""

    def with_weights(self, weights: Mapping[str, Array], /) -> Self:
        """The same with other weights: layer -> (mw, mh)."""


Kind = TypeVar("Kind", bound=Rewritable)


class Rewriting(Generic[Kind]):
    """A network with what its weight memories hold.

    Args:
        network: As the bitfile has it.
        memories: Of its layers with weights that can be written; none for most designs.
    """

    def __init__(self, network: Kind, memories: Sequence[WeightMemory]) -> None:
        self._network, self._memories = network, memories
        self._stored = self._stores()

    def next_frames(self, frames: int) -> list[tuple[int, Kind]]:
        """The networks that the next *frames* frames meet: how many of them each."""
        parts = []
        while frames and not all(memory.settled for memory in self._memories):
            met = {memory.layer.name: memory.next_frame() for memory in self._memories}
            parts.append((1, self._network.with_weights(met)))
            frames -= 1
        if frames and self._stored != self._stores():
            held = {memory.layer.name: memory.weights() for memory in self._memories}
            self._network, self._stored = self._network.with_weights(held), self._stores()
        return [*parts, (frames, self._network)] if frames else parts

    def _stores(self) -> int:
        return sum(memory.stores for memory in self._memories)
