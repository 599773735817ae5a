"""Thresholds on their own (FINN's Thresholding).

Source: finn-plus 1.6.1, custom_op/fpgadataflow (thresholding.py, rtl/thresholding_rtl.py,
hls/thresholding_hls.py); finn-rtllib, thresholding.sv (a binary search: two registers a comparison).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from labd_host.dataflow.axes import NodeSettings
from labd_host.dataflow.layers.layer import (
    Array,
    ChannelwiseLayer,
    ProofPoint,
    StoredForm,
    levels_of,
    store_thresholds,
    thresholds_form,
)
from labd_host.dataflow.programs import READ, WRITE, Loop, Pipelines, each_step, is_hls
from labd_host.dataflow.resources import CostUnit, Resources
from labd_shared.datatypes import parse_datatype

RTL_THRESHOLD_CYCLES = 2  # behind the comparisons: queue and output register
# What FINN takes for the memories there are, on every part: (width, words) by kind.
_MEMORIES = (
    ("uram", (72, 4096)),
    ("uram", (36, 8192)),
    ("uram", (18, 16384)),
    ("uram", (9, 32768)),
    ("bram18", (36, 512)),
    ("bram18", (18, 1024)),
    ("bram18", (9, 2048)),
    ("lut", (1, 64)),
)


@dataclass(frozen=True)
class Thresholding(ChannelwiseLayer):
    """Counts, per channel, how many thresholds a value reaches.

    Attributes:
        name: FINN's node name.
        channels: Values per vector.
        vectors: Vectors per frame (pixels of a feature map; 1 after a flatten).
        pe: Channels a cycle.
        steps: Thresholds per channel.
        input, output: Datatype names of one value.
        offset: Added to the count (FINN's ActVal).

    Array ``thresholds``: (1 or channels, steps), ascending along the last axis.
    """

    op: ClassVar[str] = "Thresholding"
    finn_names: ClassVar[tuple[str, ...]] = ("Thresholding", "Thresholding_Batch")
    role: ClassVar[str] = "quantise"
    sentence: ClassVar[str] = "thresholds, PE channels in a cycle"
    phrase: ClassVar[str] = "the thresholding"

    name: str
    channels: int
    vectors: int
    pe: int
    steps: int
    input: str
    output: str
    offset: int

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.vectors * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.vectors * self.channels

    @property
    def own_settings(self) -> tuple[str, ...]:
        """Its memories: finn-rtllib's unit chooses by depth, the HLS unit is told."""
        memories = (
            ("ram_style", "mem_mode") if is_hls(self.name) else ("depth_trigger_uram", "depth_trigger_bram")
        )
        return (*memories, "runtime_writeable_weights")

    @property
    def cycles(self) -> int:
        """A word a cycle."""
        return self.vectors * (self.channels // self.pe)

    def rtl_latency(self) -> int:
        """Two registers a comparison of the search, and those behind."""
        return 2 * self.steps.bit_length() + RTL_THRESHOLD_CYCLES

    def make_program(self, pipelines: Pipelines) -> Loop:
        """A word in and a word out, every cycle."""
        rounds = self.vectors * self.channels // self.pe
        return Loop(each_step(READ | WRITE), rounds, self.latency(pipelines), is_hls(self.name))

    @property
    def threshold_bits(self) -> int:
        """Bits of a threshold: one more than the values, since "never reached" must be among them."""
        return parse_datatype(self.input).bits + 1

    def finn_estimate(self, settings: NodeSettings) -> Resources:
        """The memories of a binary search, a level deeper each, every lane its own; no comparators."""
        used = {"lut": 0, "bram18": 0, "uram": 0}
        groups = self.channels // self.pe
        if self.name.startswith("Thresholding_hls"):
            return Resources(lut=self._streamed_luts(groups))
        for level in range(parse_datatype(self.output).bits):
            width, words = self.threshold_bits, groups * 2**level
            counts = [
                (kind, math.ceil(width / wide) * math.ceil(words / deep), wide * deep)
                for kind, (wide, deep) in _MEMORIES
            ]
            kind, count, _ = min(counts, key=lambda each: each[1] * each[2])  # the least bits left over
            used[kind] += self.pe * count
        return Resources(**used)

    def _streamed_luts(self, groups: int) -> int:
        memory = self.pe * self.threshold_bits * self.steps * math.ceil(groups / 64) if groups > 1 else 0
        return parse_datatype(self.input).bits * self.pe + memory

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """Its comparators; the memories of all levels but the first, which needs none, are LUTs."""
        finn = self.finn_estimate(settings)
        levels = parse_datatype(self.output).bits
        drivers = {"one": 1, "compared": self.pe * levels * parse_datatype(self.input).bits}
        memory = sum(math.ceil(2**level / 64) for level in range(1, levels))
        exact = finn.memories_and_dsps + Resources(lut=self.pe * self.threshold_bits * memory)
        return CostUnit(self.name, "thresholding", drivers, exact, finn)

    def array_forms(self) -> dict[str, StoredForm]:
        """Its thresholds, a row a channel."""
        return {"thresholds": thresholds_form(self.channels, self.steps)}

    def store(self, key: str, array: Array) -> Array:
        """*array* in its stored form."""
        return store_thresholds(array, self.channels, self.steps)

    def points(self, values: Array, sums: Array) -> Iterator[ProofPoint]:
        """Its levels."""
        yield "levels", levels_of(values, self.output, self.offset)
