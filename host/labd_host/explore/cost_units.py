"""Everything of a design that takes cells: the shell, DMAs, FIFOs, width converters and the layers.

Each is a `Unit`: its kind, the figures that drive its cost ("drivers"), and what is known exactly. FINN
puts a FIFO behind every node, and a width converter with a FIFO of its own where two neighbours' words
differ.

Source: finn-plus 1.6.1, transformation/fpgadataflow (insert_dwc.py, insert_fifo.py, insert_iodma.py).
Why these drivers: the weights of an XNOR MVAU go through PE * SIMD gates into adder trees, and where it
reads its input more than once, hls/mvau.hpp of finn-hlslib keeps the whole vector in registers; a FIFO of
up to two words is two registers, a deeper one a shift register of 32 words a LUT; LUT memories of the
7 series come in fours: 6 bits x 32 words or 3 bits x 64 (Xilinx UG474).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from labd_host.dataflow.design import Design
from labd_host.dataflow.layers import LabelSelect, Layer, MaxPool, Mvau, SlidingWindow, Thresholding
from labd_host.dataflow.programs import words_of
from labd_host.dataflow.resources import (
    Resources,
    Settings,
    bram18_of,
    finn_estimate,
    leaves_whole,
    line_words,
    threshold_bits,
    weight_bits,
    weight_words,
    window_bits,
    window_words,
)
from labd_shared.datatypes import parse_datatype
from labd_shared.timing import DMA_PORT_BITS

SHALLOW_WORDS = 2  # a FIFO of FINN's least depth
NARROW_BITS = 4  # of an input value; FINN overestimates the multipliers of wider ones
SHIFT_REGISTER_WORDS = 256  # the deepest FIFO FINN makes of LUTs


@dataclass(frozen=True)
class Unit:
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


def units_of(design: Design, depths: Mapping[int, int] | None = None) -> list[Unit]:
    """The units of *design*, shell first, then along the stream.

    Args:
        design: Folded.
        depths: Position of a FIFO from 0 on -> its depth in words; others have FINN's least, 2.
    """
    known = depths or {}
    units = [shell(), input_dma(entry_bits(design.layers[0]))]
    fifos = 0
    for unit in _stream(design):
        if unit.kind == "fifo":
            depth = known.get(fifos, SHALLOW_WORDS)
            unit = fifo(f"fifo {fifos}", int(unit.drivers["bits"]), depth)
            fifos += 1
        units.append(unit)
    return [*units, output_dma()]


def _stream(design: Design) -> Iterator[Unit]:
    layers = design.layers
    yield fifo("", entry_bits(layers[0]))
    for layer, following in pairwise((*layers, None)):
        if layer is None:
            continue
        yield layer_unit(layer, design.settings.get(layer.name, {}))
        leaving = exit_bits(layer)
        yield fifo("", leaving)
        if following is not None and entry_bits(following) != leaving:
            yield converter(f"converter before {following.name}", leaving, entry_bits(following))
            yield fifo("", entry_bits(following))


def entry_bits(layer: Layer) -> int:
    """Width of the stream that *layer* reads."""
    return words_of(layer)[0] * parse_datatype(layer.input).bits


def exit_bits(layer: Layer) -> int:
    """Width of the stream that *layer* writes."""
    return words_of(layer)[1] * parse_datatype(layer.output).bits


def shell() -> Unit:
    """The processor's side: interconnects, resets, the AXI-lite ports."""
    return Unit("shell", "shell", {"one": 1}, Resources())


def input_dma(bits: int) -> Unit:
    """The DMA in front, with its converter from the port to the stream's width *bits*."""
    if DMA_PORT_BITS % bits == 0:
        return Unit("idma0", "input dma", {"one": 1}, Resources(bram18=2))
    return Unit("idma0", "converting input dma", {"one": 1, "bits": bits}, Resources(bram18=2))


def output_dma() -> Unit:
    """The DMA behind."""
    return Unit("odma0", "output dma", {"one": 1}, Resources(bram18=1))


def fifo(name: str, bits: int, depth: int = SHALLOW_WORDS) -> Unit:
    """A FIFO of *depth* words of *bits*."""
    if depth <= SHALLOW_WORDS:
        return Unit(name, "fifo", {"one": 1, "bits": bits}, Resources())
    if depth <= SHIFT_REGISTER_WORDS:
        return Unit(
            name, "deep fifo", {"one": 1, "bits": bits}, Resources(lut=bits * math.ceil((depth - 1) / 32))
        )
    words = 1 << (depth - 1).bit_length()  # FINN rounds a FIFO of block RAMs up to a power of two
    return Unit(name, "deep fifo", {"one": 1, "bits": bits}, Resources(bram18=bram18_of(bits, words)))


def converter(name: str, before: int, after: int) -> Unit:
    """A width converter; where neither width divides the other it goes through their least common multiple."""
    widest = max(before, after)
    through = 0 if widest % min(before, after) == 0 else math.lcm(before, after)
    return Unit(name, "converter", {"one": 1, "bits": widest, "through": through}, Resources())


def layer_unit(layer: Layer, settings: Settings) -> Unit:
    """The unit of *layer*, folded, with what its folding sets beside PE and SIMD."""
    finn = finn_estimate(layer, settings)
    exact = Resources(bram18=finn.bram18, dsp=finn.dsp, uram=finn.uram)
    if isinstance(layer, Mvau):
        return _mvau(layer, settings, finn, exact)
    if isinstance(layer, SlidingWindow):
        return _window(layer, finn, exact)
    if isinstance(layer, Thresholding):
        levels, width = parse_datatype(layer.output).bits, threshold_bits(layer)
        drivers = {"one": 1, "compared": layer.pe * levels * parse_datatype(layer.input).bits}
        memory = sum(math.ceil(2**level / 64) for level in range(1, levels))
        return Unit(
            layer.name, "thresholding", drivers, exact + Resources(lut=layer.pe * width * memory), finn
        )
    if isinstance(layer, LabelSelect):
        return Unit(layer.name, "label", {"one": 1, "lanes": layer.pe}, exact, finn)
    kind = "pool" if isinstance(layer, MaxPool) else "padding"
    return Unit(layer.name, kind, {"one": 1, "bits": entry_bits(layer)}, exact, finn)


def _mvau(layer: Mvau, settings: Settings, finn: Resources, exact: Resources) -> Unit:
    words, width = weight_words(layer), weight_bits(layer)
    style = settings.get("ram_style", "auto")
    lut = 0
    if style == "auto" and words <= 2:  # Vivado takes no block RAM for two words
        exact = Resources(dsp=exact.dsp, uram=exact.uram)
    elif style == "distributed":
        lut = width * math.ceil(words / 64)  # read-only: a LUT is 64 words of a bit
    exact += Resources(lut=lut)
    if not layer.xnor:
        kind = "wide mvau" if parse_datatype(layer.input).bits > NARROW_BITS else "mvau"
        return Unit(layer.name, kind, {"finn": finn.lut - lut}, exact, finn)
    repeats = layer.mh > layer.pe
    drivers = {"one": 1, "synapses": layer.pe * layer.simd, "kept": layer.mw if repeats else 0}
    return Unit(layer.name, "xnor", drivers, exact, finn)


def _window(layer: SlidingWindow, finn: Resources, exact: Resources) -> Unit:
    """Its logic grows with the counters of a frame's words; a LUT memory's output is a register more."""
    width, pixels = window_bits(layer), layer.height * layer.width
    in_luts = not exact.bram18 and not exact.uram
    drivers = {"one": 1, "counted": (pixels * (layer.channels // layer.simd) - 1).bit_length()}
    if not leaves_whole(layer):
        lut = memory_luts(width, window_words(layer)) if in_luts else 0
        drivers["registered"] = width if in_luts else 0
        return Unit(layer.name, "window", drivers, exact + Resources(lut=lut), finn)
    rows = layer.kernel_h - 1 if min(layer.height, layer.width) > 1 else 0
    lut = rows * memory_luts(width, line_words(layer)) if in_luts and rows else 0
    drivers["registered"] = width * (layer.kernel_h * layer.kernel_w + (rows if in_luts else 0))
    return Unit(layer.name, "whole window", drivers, exact + Resources(lut=lut), finn)


def memory_luts(width: int, words: int) -> int:
    """LUTs of a memory with a port to write and one to read; above 64 words its outputs are chosen from."""
    if words <= 32:
        return 4 * math.ceil(width / 6)
    banks = math.ceil(words / 64)
    return banks * 4 * math.ceil(width / 3) + (width * math.ceil((banks - 1) / 3) if banks > 1 else 0)
