"""Each pixel of a feature map several times, along and down (FINN's UpsampleNearestNeighbour).

Source: finn-plus 1.6.1, custom_op/fpgadataflow/upsampler.py (shapes, get_exp_cycles; no estimate of cells) and
hls/upsampler_hls.py, transformation/fpgadataflow/convert_to_hw/upsample.py; finn-hlslib, upsample_nn of
upsample.hpp: output pixel o shows input pixel floor((o + 1/2) * inputs / outputs), which for whole scales is
o // scale. A ring buffer that holds the whole map, rounded up to a power of two, reads ahead (of a map that only
grows along, a row); a word is seen four iterations after it was read, the last time a pixel is shown frees it,
and the unit runs on from frame to frame without emptying.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labd_host.dataflow.axes import Axis, NodeSettings
from labd_host.dataflow.layers.layer import Layer, stream_faults
from labd_host.dataflow.programs import Pipelines, Replay
from labd_host.dataflow.resources import CostUnit, Resources, bram18_of, memory_luts

LUT_WORDS = 64  # a deeper buffer is taken for block RAM


@dataclass(frozen=True)
class Upsample(Layer):
    """A feature map of larger pixels (FINN's UpsampleNearestNeighbour).

    Attributes:
        name: FINN's node name.
        channels, height, width: Of the feature map before.
        scale_h, scale_w: How many rows and columns each of its pixels fills.
        simd: Channels a cycle.
        input, output: Datatype names, the same.
    """

    op: ClassVar[str] = "UpsampleNearestNeighbour"
    finn_names: ClassVar[tuple[str, ...]] = ("UpsampleNearestNeighbour", "UpsampleNearestNeighbour_Batch")
    role: ClassVar[str] = "move"
    sentence: ClassVar[str] = "each pixel several times, along and down"
    phrase: ClassVar[str] = "the upsampling"

    name: str
    channels: int
    height: int
    width: int
    scale_h: int
    scale_w: int
    simd: int
    input: str
    output: str

    @property
    def pixels(self) -> int:
        """Of the feature map before."""
        return self.height * self.width

    @property
    def out_pixels(self) -> int:
        """Of the feature map after."""
        return self.pixels * self.scale_h * self.scale_w

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.pixels * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.out_pixels * self.channels

    @property
    def words(self) -> tuple[int, int]:
        """Values in a word in, in a word out."""
        return self.simd, self.simd

    # -- folding

    @property
    def axes(self) -> tuple[Axis, ...]:
        """SIMD divides the channels."""
        return (Axis("SIMD", self.channels, "channels"),)

    def folding_faults(self) -> list[str]:
        """A stream that is too wide."""
        return stream_faults(self, self.axes[0], self.simd)

    def set_folding(self, cycles: int) -> Upsample:
        """As it is: FINN's SetFolding does not know the layer."""
        return self

    # -- time

    @property
    def cycles(self) -> int:
        """A word of the larger map a cycle."""
        return self.out_pixels * (self.channels // self.simd)

    @property
    def restart_cycles(self) -> int:
        """None: it runs on from frame to frame, although it is made with HLS."""
        return 0

    def make_program(self, pipelines: Pipelines) -> Replay:
        """A word out every cycle, as soon as the one it repeats is in the buffer."""
        groups = self.channels // self.simd
        rows = np.repeat(np.arange(self.height), self.scale_h)
        columns = np.repeat(np.arange(self.width), self.scale_w)
        pixels = rows[:, None] * self.width + columns
        needs = (pixels[:, :, None] * groups + np.arange(groups)).ravel()
        last_row = np.arange(1, len(rows) + 1) % self.scale_h == 0
        last_column = np.arange(1, len(columns) + 1) % self.scale_w == 0
        frees = np.repeat((last_row[:, None] & last_column).ravel(), groups)
        freed = np.maximum.accumulate(np.where(frees, needs + 1, 0))
        return Replay(
            needs, np.concatenate([[0], freed[:-1]]), self.in_values // self.simd, self.buffer_words
        )

    # -- cost

    @property
    def buffer_words(self) -> int:
        """Words of the ring buffer, SIMD channels each."""
        rows = self.height if self.scale_h > 1 else 1
        held = rows * self.width * (self.channels // self.simd) if self.scale_h * self.scale_w > 1 else 1
        return 1 << (held - 1).bit_length()

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """Its counters, and the memory of its buffer; FINN estimates nothing.

        No report of a build has one: it takes the coefficients of a pool, a unit of counters made with HLS as well.
        """
        width, words = self.entry_bits, self.buffer_words
        memory = (
            Resources(lut=memory_luts(width, words))
            if words <= LUT_WORDS
            else Resources(bram18=bram18_of(width, words))
        )
        return CostUnit(self.name, "pool", {"one": 1, "bits": width}, memory, self.finn_estimate(settings))

    # -- what network.npz holds, words

    def faults(self) -> Iterator[str]:
        """It only repeats values."""
        if self.input != self.output:
            yield f"{self.name} turns {self.input} into {self.output}"

    def work(self, cycles: int) -> str:
        """Its part of a pixel."""
        return f"gives {self.simd} of {self.channels} channels of one of {self.out_pixels:,} pixels a cycle"
