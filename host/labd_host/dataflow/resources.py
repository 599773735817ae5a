"""Cells of an FPGA, and what a unit on it costs; FINN's own formulas stand with each kind of layer.

FINN counts layers only: nothing for a MaxPool, a Padding, a LabelSelect, for FIFOs of two words, for
width converters it has not inserted yet, DMAs and the processor's side. `labd_host.explore.cost_units`
counts those, and `labd_host.explore.calibration` says what Vivado makes of them.

Source: finn-plus 1.6.1, util/memutil.py; LUT memories of the 7 series come in fours: 6 bits x 32 words or
3 bits x 64 (Xilinx UG474). tests/host/dataflow/test_resources.py compares the layers with
finn.analysis.fpgadataflow.res_estimation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MEMORIES = ("block", "distributed")  # FINN's ram_style, by name: "auto" leaves the choice to Vivado
NARROW_BITS = 4  # of an input value of a product; FINN overestimates the multipliers of wider ones
# A block RAM of 18 kbit: width it offers in bits -> words, as a simple dual-port memory.
RAMB18_WORDS = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}


@dataclass(frozen=True)
class Resources:
    """Cells of an FPGA.

    Attributes:
        lut, ff: Look-up tables and flip-flops.
        bram18: Block RAMs of 18 kbit; one of 36 kbit counts as two.
        dsp, uram: Multipliers and UltraRAMs.
    """

    lut: float = 0
    ff: float = 0
    bram18: float = 0
    dsp: float = 0
    uram: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.bram18 + other.bram18,
            self.dsp + other.dsp,
            self.uram + other.uram,
        )

    @property
    def memories_and_dsps(self) -> Resources:
        """The same without LUTs and flip-flops: what an estimate knows exactly."""
        return Resources(bram18=self.bram18, dsp=self.dsp, uram=self.uram)

    def __sub__(self, other: Resources) -> Resources:
        return self + Resources(-other.lut, -other.ff, -other.bram18, -other.dsp, -other.uram)


@dataclass(frozen=True)
class CostUnit:
    """One thing on the FPGA.

    Attributes:
        name: The node's, or of what it is ("fifo 3", "shell").
        kind: Whose coefficients it takes ("xnor", "fifo", ...).
        drivers: What its LUTs and flip-flops grow with, by name.
        exact: What needs no fit: LUTs of memories, block RAMs, DSPs.
        finn: FINN's own figures; None where FINN has none before the node is inserted.
    """

    name: str
    kind: str
    drivers: Mapping[str, float]
    exact: Resources
    finn: Resources | None = None


def bram18_of(width: int, words: int) -> int:
    """Block RAMs of 18 kbit for a memory of *words* words, *width* bits each."""
    if width <= 2:
        return math.ceil(words / RAMB18_WORDS[width])
    if width <= 4:
        return math.ceil(words / 4096) * math.ceil(width / 4)
    if width <= 9:
        return math.ceil(words / 2048) * math.ceil(width / 9)
    if width <= 18 or words > 512:
        return math.ceil(words / 1024) * math.ceil(width / 18)
    return math.ceil(words / 512) * math.ceil(width / 36)


def memory_luts(width: int, words: int) -> int:
    """LUTs of a memory with a port to write and one to read; above 64 words its outputs are chosen from."""
    if words <= 32:
        return 4 * math.ceil(width / 6)
    banks = math.ceil(words / 64)
    return banks * 4 * math.ceil(width / 3) + (width * math.ceil((banks - 1) / 3) if banks > 1 else 0)
