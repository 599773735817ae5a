"""A design as the simulator runs it: units with step programs, joined by FIFOs.

FINN puts a FIFO in front of every node, between any two, and behind the last; where two nodes differ
in their stream's width, a converter stands between them with a FIFO on either side. With the DMAs,
another converter stands where a DMA's beat and the stream differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.layers import Layer, WidthConverter
from labd_host.dataflow.programs import HLS, Pipelines, Program, giving, passing, taking
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import unknown_name
from labd_shared.tensors import Tensor
from labd_shared.timing import DMA_PORT_BITS, dma_cycles

LEAST_DEPTH = 2  # of FINN's FIFOs; one word less halves the rate
FIFO = "StreamingFIFO_rtl"
SOURCE, SINK = "source", "sink"


@dataclass(frozen=True)
class PipelineUnit:
    """One unit.

    Attributes:
        name, op: FINN's node name, and its operation.
        program: What it does.
        inputs, outputs: Indices of the FIFOs it reads and writes, all of them in a reading or writing step.
    """

    name: str
    op: str
    program: Program
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Fifo:
    """One FIFO; what is written in a cycle can be read in the next.

    Attributes:
        name: FINN's node name.
        depth: Words it holds, at least 1.
        bits: Of one word.
        fixed: It is inside a DMA, and nobody chooses its depth.
    """

    name: str
    depth: int
    bits: int
    fixed: bool = False


@dataclass(frozen=True)
class Machine:
    """Units and FIFOs.

    Attributes:
        name: Of the design.
        units: One without inputs gives the frames, one without outputs takes them.
        fifos: Joined by the units' inputs and outputs.
    """

    name: str
    units: tuple[PipelineUnit, ...]
    fifos: tuple[Fifo, ...]

    def with_depths(self, depths: Sequence[int]) -> Machine:
        """The same with FIFOs of *depths*, but for the fixed ones."""
        fifos = tuple(
            fifo if fifo.fixed else replace(fifo, depth=depth)
            for fifo, depth in zip(self.fifos, depths, strict=True)
        )
        return replace(self, fifos=fifos)

    def with_named_depths(self, depths: Mapping[str, int]) -> Machine:
        """The same with the FIFOs that *depths* names as deep as it says.

        Raises:
            UnknownName: a FIFO that is not here.
        """
        known = [fifo.name for fifo in self.fifos if not fifo.fixed]
        for name in depths:
            if name not in known:
                raise unknown_name("FIFO", name, known, fix="give the depths of this network and folding")
        return self.with_depths([depths.get(fifo.name, fifo.depth) for fifo in self.fifos])


@dataclass(frozen=True)
class ChainUnit:
    """A unit of a chain, before the chain is joined: words of *takes* values in, of *gives* out."""

    name: str
    op: str
    program: Program
    takes: int
    gives: int
    bits: int  # of one value going out


def chain(design: FoldedChain, pipelines: Pipelines = HLS) -> list[ChainUnit]:
    """The layers of *design* and the width converters between them."""
    stages: list[ChainUnit] = []
    for layer in design.layers:
        stage = layer_stage(layer, pipelines)
        if stages and stages[-1].gives != stage.takes:
            stages.append(converter(sum(one.op == WidthConverter.op for one in stages), stages[-1], stage))
        stages.append(stage)
    return stages


def layer_stage(layer: Layer, pipelines: Pipelines = HLS) -> ChainUnit:
    """*layer* as a unit of a chain."""
    takes, gives = layer.words
    return ChainUnit(
        layer.name, layer.op, layer.program(pipelines), takes, gives, parse_datatype(layer.output).bits
    )


def reshape_stage(name: str, values: int, lanes: int, bits: int) -> ChainUnit:
    """A node that passes *values* a frame on, *lanes* a cycle."""
    return ChainUnit(name, "Reshape", passing(values // lanes), lanes, lanes, bits)


def converter(number: int, before: ChainUnit, after: ChainUnit) -> ChainUnit:
    """The width converter between two stages."""
    between = WidthConverter(before.gives, after.takes)
    return ChainUnit(
        between.name(number), between.op, between.program(), between.takes, between.gives, before.bits
    )


def assemble(
    design: FoldedChain, *, stages: Sequence[ChainUnit] | None = None, dma: bool = True,
    depth: Callable[[str], int] = lambda name: LEAST_DEPTH,
) -> Machine:  # fmt: skip
    """*design* as a machine.

    Args:
        design: Gives the tensors at the ends.
        stages: Units of the chain; by default those of `chain`.
        dma: With the DMAs at both ends, a beat a cycle; without, the first layer is fed and the last one
            emptied at once, as FINN's RTL simulation does.
        depth: The depth of a FIFO, by its name.
    """
    middle = list(chain(design) if stages is None else stages)
    words_in = _words(design.inputs[0], middle[0].takes)
    words_out = _words(design.outputs[0], middle[-1].gives)
    bits_in = parse_datatype(design.layers[0].input).bits
    joined: list[tuple[str, str, Program, int]] = []  # name, operation, program, bits of a word going out
    if dma:
        joined += _dma_in(design.inputs[0], middle[0].takes, bits_in)
    else:
        joined.append((SOURCE, SOURCE, giving(words_in), middle[0].takes * bits_in))
    joined += [(stage.name, stage.op, stage.program, stage.gives * stage.bits) for stage in middle]
    if dma:
        joined += _dma_out(design.outputs[0], middle[-1].gives)
    else:
        joined.append((SINK, SINK, taking(words_out), 0))
    last = len(joined) - 1
    units = tuple(
        PipelineUnit(name, op, program, (index - 1,) if index else (), (index,) if index < last else ())
        for index, (name, op, program, _) in enumerate(joined)
    )
    first = next(index for index, entry in enumerate(joined) if entry[0] == middle[0].name) - 1
    names = [_fifo_name(index - first, len(middle)) for index in range(last)]
    fifos = tuple(
        Fifo(name, depth(name), bits, fixed=not name.startswith(FIFO))
        for name, (_, _, _, bits) in zip(names, joined[:-1], strict=True)
    )
    return Machine(design.name, units, fifos)


def _fifo_name(index: int, layers: int) -> str:
    """FINN counts from the one in front of the first layer; those beyond the layers belong to the DMAs."""
    if index < 0:
        return f"idma_fifo_{-index}"
    return f"{FIFO}_{index}" if index <= layers else f"odma_fifo_{index - layers}"


def _words(tensor: Tensor, lanes: int) -> int:
    return math.prod(tensor.normal) // lanes


def _dma_in(tensor: Tensor, lanes: int, bits: int) -> list[tuple[str, str, Program, int]]:
    beat_bits, word_bits = _beat_bits(tensor), _whole_bytes(lanes * bits)
    source = (tensor.dma, "IODMA", giving(dma_cycles(tensor)), beat_bits)
    return [source, *_dma_converters(tensor.dma, beat_bits, word_bits)]


def _dma_out(tensor: Tensor, lanes: int) -> list[tuple[str, str, Program, int]]:
    beat_bits, word_bits = _beat_bits(tensor), _whole_bytes(lanes * tensor.datatype.bits)
    sink = (tensor.dma, "IODMA", taking(dma_cycles(tensor)), 0)
    return [*_dma_converters(tensor.dma, word_bits, beat_bits), sink]


def _dma_converters(dma: str, before: int, after: int) -> list[tuple[str, str, Program, int]]:
    """An IODMA changes widths by way of their least common multiple (FINN's iodma_hls.py)."""
    widths = list(dict.fromkeys((before, math.lcm(before, after), after)))
    return [
        (f"{dma}_to_{wide}_bits", WidthConverter.op, WidthConverter(narrow, wide).program(), wide)
        for narrow, wide in pairwise(widths)
    ]


def _beat_bits(tensor: Tensor) -> int:
    return math.gcd(tensor.frame_bytes * 8, DMA_PORT_BITS)


def _whole_bytes(bits: int) -> int:
    return (bits + 7) // 8 * 8
