"""The folding whose first frame is out soonest: proposed exactly, judged by the simulator.

A frame does not wait for the sum of all layers: while one of them works those behind it have begun. What
it waits for is a path through the layers and the time, and a faster layer shortens the latency by the
share of its cycles that lie on that path. So foldings are proposed by the exact search, with these shares
as weights and under several caps on the slowest layer; each is simulated, and its own path corrects the
weights. The best is then made better layer by layer as long as a faster choice fits.

What comes out is the best of the foldings that were simulated. It is no proof; `Quickest.least_cycles`
says below what no folding within the budgets can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.layers import Layer, WidthConverter
from labd_host.explore.optimiser import Explorer, Solution
from labd_host.simulate.fifos import NEVER_FULL
from labd_host.simulate.pipeline import assemble
from labd_host.simulate.simulator import STARVED, simulate

CAPS = (1.0, 1.1, 1.2, 1.3, 1.5, 2.0)  # on the slowest layer, of what the fastest folding takes
ROUNDS = 10  # of correcting the weights under one cap
LEAST_SHARE = 0.05  # what is on no path now may be on the next one
TRACE_ROWS = 4000
SWAPS = 80  # simulations of changes of the best one, before it stands

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quickest:
    """The folding that was found.

    Attributes:
        solution: The folding.
        latency_cycles: Its first frame's, simulated with FIFOs that never fill.
        waits_cycles: Unit -> how many of them the frame waits for it.
        simulated: How many foldings were.
        least_cycles: No folding within the budgets has a shorter latency; proven.
    """

    solution: Solution
    latency_cycles: int
    waits_cycles: Mapping[str, int]
    simulated: int
    least_cycles: int


def first_frame(design: FoldedChain, *, dma: bool = True) -> tuple[int, dict[str, int]]:
    """Latency of the first frame in cycles where no FIFO fills, and how many of them it waits for which unit.

    The path is followed from the last word back: a unit that starves is waiting for the one before it.
    Above 4,000 cycles several are one row of the trace, and belong to what the unit did most of the time.
    """
    machine = assemble(design, dma=dma)
    found = simulate(machine.with_depths([NEVER_FULL] * len(machine.fifos)), 1, trace_rows=TRACE_ROWS)
    if found.trace is None:
        raise ValueError("a traced run has a trace")
    bucket_cycles = found.trace.bucket_cycles
    converters = np.array([unit.op == WidthConverter.op for unit in machine.units])
    waiting = converters | (found.trace.units[:, :, STARVED] * 2 > bucket_cycles)
    waits = dict.fromkeys((unit.name for unit in machine.units), 0)
    at = len(machine.units) - 1
    for row in range(len(waiting) - 1, -1, -1):
        if at and waiting[row, at]:  # one step a row: the unit before may have ended its frame in this one
            at -= 1
        waits[machine.units[at].name] += min(bucket_cycles, found.cycles - row * bucket_cycles)
    return found.latency_cycles, waits


def lowest_latency(explorer: Explorer) -> Quickest:
    """The folding within *explorer*'s budgets that is simulated to have the shortest latency.

    Raises:
        UsageError: none keeps the budgets.
    """
    search = _LatencySearch(explorer)
    for proposed in search.proposals():
        search.judge(proposed)
    search.improve()
    return search.best()


class _LatencySearch:
    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.fastest = explorer.fastest()
        self._judged: dict[tuple[Layer, ...], tuple[int, dict[str, int]]] = {}
        self._best: Solution | None = None

    def proposals(self) -> Iterator[Solution]:
        """Foldings of small weighted sums, under several caps."""
        yield self.fastest
        for cap in CAPS:
            weights = np.ones(len(self.fastest.choices))
            for rounds in range(1, ROUNDS + 1):
                found = self.explorer.quick(int(self.fastest.cycles * cap), weights)
                if found is None:
                    break
                yield found
                weights = weights + (self._shares(found) - weights) / (rounds + 1)

    def judge(self, solution: Solution) -> int:
        """Its latency; the best one is remembered, of several as quick the cheapest."""
        latency, _ = self._simulated(solution)
        if self._best is None or (latency, solution.cost.lut) < self._rank(self._best):
            self._best = solution
        return latency

    def improve(self) -> None:
        """Change one or two stages while that shortens the latency; the most promising are simulated."""
        better = True
        while better:
            before = self._rank(self.best().solution)
            swaps = self.explorer.swaps(self.best().solution, self._shares(self.best().solution))
            for swapped in islice(swaps, SWAPS):
                self.judge(swapped)
            better = self._rank(self.best().solution) < before

    def best(self) -> Quickest:
        if self._best is None:
            raise ValueError("nothing was judged")
        latency, waits = self._simulated(self._best)
        return Quickest(self._best, latency, waits, len(self._judged), self.fastest.cycles)

    def _rank(self, solution: Solution) -> tuple[int, float]:
        return self._simulated(solution)[0], solution.cost.lut

    def _simulated(self, solution: Solution) -> tuple[int, dict[str, int]]:
        layers = solution.design.layers  # memories take no cycles
        if layers not in self._judged:
            self._judged[layers] = first_frame(solution.design, dma=self.explorer.dma)
        return self._judged[layers]

    def _shares(self, solution: Solution) -> Shares:
        """By stage the share of its cycles that the first frame waits for."""
        _, waits = self._simulated(solution)
        shares = [sum(waits[name] for name in choice.settings) / choice.fill for choice in solution.choices]
        return np.minimum(1.0, np.array(shares) + LEAST_SHARE)
