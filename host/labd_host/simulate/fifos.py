"""How deep FIFOs are: FINN's rule, and the smallest that keep the rate.

Source: FINN sizes FIFOs by an RTL simulation in which they never fill. The input words come as slowly as
the slowest layer takes them, two frames of them. It takes the most words each FIFO held and rounds up: to
2, to 32 (an SRL), or above 256 to a power of two (Vivado's FIFO). Xilinx/finn 39f0c9a,
transformation/fpgadataflow/set_fifo_depths.py. Of the 46 FIFOs of five public builds 45 come out as deep
as FINN made them (tests/host/simulate/test_published_simulations.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.programs import giving, words_written
from labd_host.simulate.pipeline import LEAST_DEPTH, Machine, assemble
from labd_host.simulate.simulator import Simulation, simulate

NEVER_FULL = 1 << 40
FINN_FRAMES = 2
SRL_DEPTH, MAX_SRL_DEPTH = 32, 256
SIZING_FRAMES = 5


@dataclass(frozen=True)
class Sized:
    """FIFOs that keep the rate.

    Attributes:
        depths: Of each FIFO, at least 2: any one less deep would lower the rate, the others being as they are.
        interval_cycles: The rate they keep: that of FIFOs that never fill.
        simulations: How many were run to find them.
    """

    depths: tuple[int, ...]
    interval_cycles: float
    simulations: int


def unbounded(machine: Machine, frames: int) -> Simulation:
    """A run in which no FIFO is ever full."""
    return simulate(machine.with_depths([NEVER_FULL] * len(machine.fifos)), frames)


def finn_depths(machine: Machine, slowest_cycles: int) -> dict[str, int]:
    """The depths that FINN's sizing would choose, by the FIFOs' names.

    Args:
        machine: Without DMAs, as FINN simulates it; its own depths do not matter.
        slowest_cycles: Of the slowest layer, by FINN's own estimate.
    """
    source, *others = machine.units
    words = words_written(source.program)
    slow = replace(source, program=giving(words, -(-slowest_cycles // words)))
    fed = replace(machine, units=(slow, *others))
    most = unbounded(fed, FINN_FRAMES).high_water
    return {fifo.name: _finn_rounds(int(words)) for fifo, words in zip(machine.fifos, most, strict=True)}


def depths_of_finn(design: FoldedChain) -> dict[str, int]:
    """The same for a design that has not been built."""
    slowest = max(layer.cycles for layer in design.layers)
    return finn_depths(assemble(design, dma=False), slowest)


def _finn_rounds(words: int) -> int:
    if words <= LEAST_DEPTH:
        return LEAST_DEPTH
    if words <= SRL_DEPTH:
        return SRL_DEPTH
    return words if words <= MAX_SRL_DEPTH else 1 << (words - 1).bit_length()


def size_fifos(machine: Machine, frames: int = SIZING_FRAMES) -> Sized:
    """The smallest FIFOs that keep the rate, the one with the most bits made smaller first.

    The rate never rises when a FIFO shrinks, so each is found by halving.

    Args:
        machine: Its own depths do not matter.
        frames: Simulated each time; at least 2.
    """
    free = unbounded(machine, frames)
    wanted = free.interval_cycles
    depths = [max(LEAST_DEPTH, int(most)) for most in free.high_water]
    simulations = 1

    def keeps(tried: Sequence[int]) -> bool:
        nonlocal simulations
        simulations += 1
        return simulate(machine.with_depths(tried), frames).interval_cycles <= wanted

    free_to_choose = [index for index, fifo in enumerate(machine.fifos) if not fifo.fixed]
    for index in sorted(free_to_choose, key=lambda each: -depths[each] * machine.fifos[each].bits):
        low, high = LEAST_DEPTH, depths[index]
        while low < high:
            middle = (low + high) // 2
            if keeps([*depths[:index], middle, *depths[index + 1 :]]):
                high = middle
            else:
                low = middle + 1
        depths[index] = high
    return Sized(tuple(depths), wanted, simulations)
