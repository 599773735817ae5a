"""The sum of each channel over a whole feature map (FINN's GlobalAccPool).

It is what an average over the map becomes: FINN moves the division into the thresholds behind it.

Source: finn-plus 1.6.1, custom_op/fpgadataflow/globalaccpool.py and hls/globalaccpool_hls.py,
transformation/fpgadataflow/convert_to_hw/global_acc_pool.py; finn-hlslib, AccPool_Batch of maxpool.h: it
goes over ImgDim * ImgDim pixels, one side given, keeps the sums in LUT memory (RAM_2P_LUTRAM), and
writes them in a loop of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labd_host.dataflow.axes import NodeSettings
from labd_host.dataflow.layers.layer import Array, ChannelwiseLayer, ProofPoint
from labd_host.dataflow.programs import READ, WRITE, Loop, Pipelines, is_hls
from labd_host.dataflow.resources import CostUnit, Resources, memory_luts
from labd_shared.datatypes import parse_datatype


@dataclass(frozen=True)
class GlobalPool(ChannelwiseLayer):
    """The sum of each channel over all pixels of a feature map (FINN's GlobalAccPool).

    Attributes:
        name: FINN's node name.
        channels, height, width: Of the feature map.
        pe: Channels a cycle.
        input, output: Datatype names; the output holds every sum.
    """

    op: ClassVar[str] = "GlobalAccPool"
    finn_names: ClassVar[tuple[str, ...]] = ("GlobalAccPool", "GlobalAccPool_Batch")
    role: ClassVar[str] = "pool"
    sentence: ClassVar[str] = "the sum of each channel over the whole map, PE channels in a cycle"
    phrase: ClassVar[str] = "the global pool"

    name: str
    channels: int
    height: int
    width: int
    pe: int
    input: str
    output: str

    @property
    def pixels(self) -> int:
        """Values that a sum has."""
        return self.height * self.width

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.pixels * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.channels

    @property
    def cycles(self) -> int:
        """A word in a cycle, then a word out a cycle."""
        folds = self.channels // self.pe
        return self.pixels * folds + folds

    def make_program(self, pipelines: Pipelines) -> Loop:
        """The whole map in, then all sums out."""
        folds = self.channels // self.pe
        steps = np.full((self.pixels + 1) * folds, READ, np.uint8)
        steps[-folds:] = WRITE
        return Loop(steps, 1, self.latency(pipelines), is_hls(self.name))

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """Adders as wide as its sums, and their memory; FINN estimates nothing.

        No report of a build has one: it takes the coefficients of a pool, whose comparisons are carry
        chains as additions are.
        """
        memory = Resources(lut=memory_luts(self.exit_bits, self.channels // self.pe))
        drivers = {"one": 1, "bits": self.exit_bits}
        return CostUnit(self.name, "pool", drivers, memory, self.finn_estimate(settings))

    def faults(self) -> Iterator[str]:
        """A map that FINN's C++ does not go over, or sums that leave their datatype."""
        if self.height != self.width:
            yield f"{self.name} adds up a map of {self.height} x {self.width}, FINN's hardware takes square ones"
        values, sums = parse_datatype(self.input), parse_datatype(self.output)
        low, high = min(0, values.low) * self.pixels, values.high * self.pixels
        if low < sums.low or high > sums.high:
            yield (
                f"the sums of {self.name} reach from {low} to {high}, "
                f"{sums.name} holds {sums.describe_range()}"
            )

    def points(self, values: Array, sums: Array) -> Iterator[ProofPoint]:
        """Its sums."""
        yield "sums", values

    def score_scale(self) -> tuple[float, float]:
        """What it gives are its sums."""
        return 1.0, 0.0

    def work(self, cycles: int) -> str:
        """Its part of a pixel."""
        return f"adds {self.pe} of {self.channels} channels of one of {self.pixels:,} pixels a cycle"
