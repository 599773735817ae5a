"""What a folded design does in the simulator, with the FIFOs that FINN would give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.simulate.fifos import depths_of_finn, unbounded
from labd_host.simulate.pipeline import FIFO, assemble
from labd_host.simulate.simulator import simulate

FRAMES = 4


@dataclass(frozen=True)
class Behaviour:
    """How a design ran.

    Attributes:
        latency_cycles: From the first word in to the last word of the first frame out.
        interval_cycles: Between two frames once the pipeline is full.
        free_interval_cycles: The same where no FIFO ever fills.
        depths: Place of a FIFO in the stream, from 0 on -> its depth in words, by FINN's rule.
    """

    latency_cycles: int
    interval_cycles: float
    free_interval_cycles: float
    depths: Mapping[int, int]


def behaviour(design: FoldedChain, *, dma: bool = True) -> Behaviour:
    """Simulate a few frames of *design*.

    Args:
        dma: With the DMAs at both ends.

    Raises:
        Deadlock: it would stop.
        UsageError: it takes minutes.
    """
    depths = depths_of_finn(design)
    machine = assemble(design, dma=dma)
    found = simulate(machine.with_named_depths(depths), FRAMES)
    free = unbounded(machine, FRAMES)
    places = {int(name.removeprefix(f"{FIFO}_")): depth for name, depth in depths.items()}
    return Behaviour(found.latency_cycles, found.interval_cycles, free.interval_cycles, places)
