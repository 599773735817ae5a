"""Thresholds on their own (FINN's Thresholding).

Source: finn-plus 1.6.1, custom_op/fpgadataflow (thresholding.py, rtl/thresholding_rtl.py,
hls/thresholding_hls.py); finn-rtllib, thresholding.sv (a binary search: two registers a comparison),
also as it was in finn-plus 1.4.0, which forbids Vivado to make memories of the thresholds (DONT_TOUCH).
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
from labd_host.dataflow.resources import CostUnit, Resources, bram18_of
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
        return 2 * self.levels + RTL_THRESHOLD_CYCLES

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

    @property
    def levels(self) -> int:
        """Comparisons of the binary search; each has a memory of twice the thresholds of the one before."""
        return self.steps.bit_length()

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """Its comparators and pipeline, and the thresholds behind the first, each lane's once.

        The channels of an input quantiser share their thresholds, which FINN's RTL then has once for a lane
        (its estimate: once for every channel of it, in block RAMs where there are many).
        Where Vivado may not make memories of them, every bit of a threshold is kept as a constant and
        chosen from in LUTs: so up to finn-plus 1.4.0. Today's RTL lets it, that takes a tenth; the
        calibration counts the former and says how far the latter is away. One comparison has nothing to
        choose from. From ``depth_trigger_bram`` words on a level is a block RAM.
        """
        finn = self.finn_estimate(settings)
        bits, levels = parse_datatype(self.input).bits, self.levels
        drivers = {"one": 1, "compared": self.pe * levels * bits}
        if levels == 1:
            return CostUnit(self.name, "thresholding", drivers, finn.memories_and_dsps, finn)
        trigger = settings.get("depth_trigger_bram", 0)
        behind = [2**level for level in range(1, levels)]
        blocks = [words for words in behind if isinstance(trigger, int) and 0 < trigger <= words]
        kept = self.threshold_bits * (sum(behind) - sum(blocks))
        drivers |= {"kept": self.pe * kept, "pointed": self.pe * levels**2}
        exact = Resources(bram18=self.pe * sum(bram18_of(self.threshold_bits, words) for words in blocks))
        return CostUnit(self.name, "threshold search", drivers, exact, finn)

    def array_forms(self) -> dict[str, StoredForm]:
        """Its thresholds, a row a channel."""
        return {"thresholds": thresholds_form(self.channels, self.steps)}

    def store(self, key: str, array: Array) -> Array:
        """*array* in its stored form."""
        return store_thresholds(array, self.channels, self.steps)

    def points(self, values: Array, sums: Array) -> Iterator[ProofPoint]:
        """Its levels."""
        yield "levels", levels_of(values, self.output, self.offset)
