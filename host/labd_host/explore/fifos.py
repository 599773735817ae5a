"""How deep FIFOs are: FINN's rule, the smallest there are, and the smallest that keep the rate.

Source: FINN sizes FIFOs by an RTL simulation of two frames with FIFOs that never fill, takes the most
words each held, and rounds up: to 2, to 32 (an SRL), or above 256 to a power of two (Vivado's FIFO);
Xilinx/finn 39f0c9a, transformation/fpgadataflow/set_fifo_depths.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labd_host.explore.machine import LEAST_DEPTH, Machine
from labd_host.explore.simulator import Simulation, simulate

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


def finn_depths(machine: Machine) -> tuple[int, ...]:
    """The depths that FINN's sizing would choose."""
    return tuple(_finn_rounds(int(most)) for most in unbounded(machine, FINN_FRAMES).high_water)


def _finn_rounds(words: int) -> int:
    if words <= LEAST_DEPTH:
        return LEAST_DEPTH
    if words <= SRL_DEPTH:
        return SRL_DEPTH
    return words if words <= MAX_SRL_DEPTH else 1 << (words - 1).bit_length()


def minimal_depths(machine: Machine) -> tuple[int, ...]:
    """Every FIFO as small as FINN builds them."""
    return (LEAST_DEPTH,) * len(machine.fifos)


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

    order = sorted(range(len(depths)), key=lambda index: -depths[index] * machine.fifos[index].bits)
    for index in order:
        low, high = LEAST_DEPTH, depths[index]
        while low < high:
            middle = (low + high) // 2
            if keeps([*depths[:index], middle, *depths[index + 1 :]]):
                high = middle
            else:
                low = middle + 1
        depths[index] = high
    return Sized(tuple(depths), wanted, simulations)
