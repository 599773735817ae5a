"""Everything of a design that takes cells: the shell, DMAs, FIFOs, width converters and the layers.

Each is a `CostUnit`; a layer's is made by the layer itself. FINN
puts a FIFO behind every node, and a width converter with a FIFO of its own where two neighbours' words
differ.

Source: finn-plus 1.6.1, transformation/fpgadataflow (insert_dwc.py, insert_fifo.py, insert_iodma.py).
A FIFO of up to two words is two registers, a deeper one a shift register of 32 words a LUT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.layers import WidthConverter
from labd_host.dataflow.resources import CostUnit, Resources, bram18_of
from labd_shared.timing import DMA_PORT_BITS

# Kinds of unit whose cost is known from one build, though FINN makes them in more than one way.
LEAST_SURE = {
    "hls converter": "width converters that FINN may make in HLS",
    "threshold search": "thresholds of several levels",
}
SHALLOW_WORDS = 2  # a FIFO of FINN's least depth
SHIFT_REGISTER_WORDS = 256  # the deepest FIFO FINN makes of LUTs


def units_of(design: FoldedChain, depths: Mapping[int, int] | None = None) -> list[CostUnit]:
    """The units of *design*, shell first, then along the stream.

    Args:
        design: Folded.
        depths: Position of a FIFO from 0 on -> its depth in words; others have FINN's least, 2.
    """
    known = depths or {}
    units = [shell(), input_dma(design.layers[0].entry_bits)]
    fifos = 0
    for unit in _stream(design):
        if unit.kind == "fifo":
            depth = known.get(fifos, SHALLOW_WORDS)
            unit = fifo(f"fifo {fifos}", int(unit.drivers["bits"]), depth)
            fifos += 1
        units.append(unit)
    return [*units, output_dma()]


def _stream(design: FoldedChain) -> Iterator[CostUnit]:
    layers = design.layers
    yield fifo("", layers[0].entry_bits)
    for layer, following in pairwise((*layers, None)):
        if layer is None:
            continue
        yield layer.cost_unit(design.settings.get(layer.name, {}))
        leaving = layer.exit_bits
        yield fifo("", leaving)
        if following is not None and following.entry_bits != leaving:
            yield WidthConverter(leaving, following.entry_bits).cost_unit(
                f"converter before {following.name}"
            )
            yield fifo("", following.entry_bits)


def shell() -> CostUnit:
    """The processor's side: interconnects, resets, the AXI-lite ports."""
    return CostUnit("shell", "shell", {"one": 1}, Resources())


def input_dma(bits: int) -> CostUnit:
    """The DMA in front, with its converter from the port to the stream's width *bits*."""
    if DMA_PORT_BITS % bits == 0:
        return CostUnit("idma0", "input dma", {"one": 1}, Resources(bram18=2))
    return CostUnit("idma0", "converting input dma", {"one": 1, "bits": bits}, Resources(bram18=2))


def output_dma() -> CostUnit:
    """The DMA behind."""
    return CostUnit("odma0", "output dma", {"one": 1}, Resources(bram18=1))


def fifo(name: str, bits: int, depth: int = SHALLOW_WORDS) -> CostUnit:
    """A FIFO of *depth* words of *bits*."""
    if depth <= SHALLOW_WORDS:
        return CostUnit(name, "fifo", {"one": 1, "bits": bits}, Resources())
    if depth <= SHIFT_REGISTER_WORDS:
        return CostUnit(
            name, "deep fifo", {"one": 1, "bits": bits}, Resources(lut=bits * math.ceil((depth - 1) / 32))
        )
    words = 1 << (depth - 1).bit_length()  # FINN rounds a FIFO of block RAMs up to a power of two
    return CostUnit(name, "deep fifo", {"one": 1, "bits": bits}, Resources(bram18=bram18_of(bits, words)))
