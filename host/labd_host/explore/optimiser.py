"""The best folding of a network: cheapest for a rate, fastest or quickest that fits, the whole frontier.

A rate fixes how many cycles the slowest layer may take; every layer then has the choices that are fast
enough, and `chain` finds the cheapest combination exactly. "Fastest" searches the rates there are, which
is enough because a folding that is fast enough for a rate is so for every lower one. Width converters that
are too slow for a rate are a resource of which there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.cycles import CycleEstimate, dma_cycles, estimate
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding
from labd_host.dataflow.layers import Layer, WidthConverter
from labd_host.dataflow.resources import Resources
from labd_host.explore import chain
from labd_host.explore.choices import Choice, Costs, choices_of, stages_of
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import UsageError

Budgets = Mapping[str, int]
CELLS = ("lut", "ff", "bram18", "dsp", "uram")
# Columns of the chain: LUTs and what decides between equals, all layers' cycles and then LUTs, each cell, and
# the width converters that are too slow.
BY_COST, BY_CYCLES, FIRST_CELL = 0, 1, 2
TOO_SLOW = FIRST_CELL + len(CELLS)
FIRSTS = 200  # the most promising changes of a stage, each tried alone and with any other
MOST = 1 << 20  # more LUTs or block RAMs than any part has


@dataclass(frozen=True)
class Solution:
    """A folding that was chosen.

    Attributes:
        design: The network, folded.
        cycles: Initiation interval in cycles a frame: the slowest layer's, converter's or DMA's.
        fill_cycles: The sum over all layers, FINN's estimate of the latency from above.
        cost: Of everything the model of cost counts.
        choices: What was chosen of every stage.
    """

    design: FoldedChain
    cycles: int
    fill_cycles: int
    cost: Resources
    choices: tuple[Choice, ...]

    @property
    def folding(self) -> dict[str, dict[str, Attribute]]:
        """Node -> what to set, as FINN's JSON has it."""
        return {name: dict(settings) for name, settings in self.design.settings.items()}


class Explorer:
    """Searches the foldings of one network.

    Args:
        design: The network, in any folding.
        costs: What things cost.
        budgets: Cell ("lut", "ff", "bram18", "dsp", "uram") -> the most of it. LUTs are what is minimised.
        dma: Whether the DMAs bound the rate, as they do on a board but not in a simulation of the layers.

    Raises:
        UsageError: not even shell and DMAs fit.
    """

    def __init__(self, design: FoldedChain, costs: Costs, budgets: Budgets, *, dma: bool = True) -> None:
        self.design, self.costs, self.budgets, self.dma = design, costs, dict(budgets), dma
        self.least_cycles = (
            max(dma_cycles(tensor) for tensor in (*design.inputs, *design.outputs)) if dma else 1
        )
        self._stages = stages_of(design)
        self._entering_bits = [_bits(stage[0]) for stage in self._stages]  # of a frame
        self._listed: list[list[Choice]] = []
        self._most: int | None = None  # cycles of what is listed; None: any
        for cell, most in self.budgets.items():
            if (fixed := getattr(costs.fixed, cell)) > most:
                raise UsageError(
                    f"a budget of {most:,} {cell.upper()} is below what the shell alone takes, {fixed:,}",
                    fix=f"give more than {fixed:,}, and room for the layers",
                )

    def cheapest(self, cycles: int) -> Solution:
        """The folding with the fewest LUTs of at most *cycles* cycles a frame; of equally cheap ones the fastest.

        Raises:
            UsageError: no folding is as fast, or none of those keeps the budgets; the message says which
                layer or budget is in the way, and how far.
        """
        found = self._solve(cycles, BY_COST) if cycles >= self.least_cycles else None
        if found is None:
            self._check_reachable(cycles)
            raise self._too_much(cycles)
        while found.cycles > self.least_cycles:
            faster = self._solve(found.cycles - 1, BY_COST)
            if faster is None or faster.cost.lut > found.cost.lut:
                break
            found = faster
        return found

    def fastest(self) -> Solution:
        """The folding with the fewest cycles a frame that keeps the budgets, the cheapest of those.

        Raises:
            UsageError: none keeps them.
        """
        rates = self._rates()
        slow, best = len(rates) - 1, self._solve(rates[-1], BY_COST)
        if best is None:
            raise self._too_much(rates[-1])
        fast = 0
        while fast < slow:
            middle = (fast + slow) // 2
            found = self._solve(rates[middle], BY_COST)
            if found is None:
                fast = middle + 1
            else:
                slow, best = middle, found
        return best

    def lowest_latency(self) -> Solution:
        """The folding with the fewest cycles over all layers that keeps the budgets, the cheapest of those.

        A first frame takes no longer than this sum, and mostly less: `latency` asks the simulator.

        Raises:
            UsageError: none keeps them.
        """
        slowest = self._rates()[-1]
        found = self._solve(slowest, BY_CYCLES)
        if found is None:
            raise self._too_much(slowest)
        return found

    def quick(self, cycles: int, weights: npt.NDArray[np.float64]) -> Solution | None:
        """A folding of few cycles over all layers that keeps the budgets; None: not found.

        Args:
            cycles: The most that the slowest layer may take for a frame.
            weights: By stage, 0 to 1: what its cycles count in the sum.
        """
        options = self._choices(cycles)
        path = chain.near(self._chain(options, cycles, weights), self._left(), BY_CYCLES)
        return None if path is None else self._taken(options, path)

    def swaps(self, solution: Solution, weights: npt.NDArray[np.float64]) -> Iterator[Solution]:
        """*solution* with another choice in one or two stages, within the budgets.

        Those come first that lessen the weighted sum of cycles most.
        """
        changes = list(self._changes(solution.choices))
        stages = np.array([at for at, _, _ in changes])
        gains = np.array([weights[at] * (solution.choices[at].fill - new.fill) for at, new, _ in changes])
        cells = np.array([_cells(delta) for _, _, delta in changes])
        most = Resources(**{cell: self.budgets.get(cell, MOST) for cell in CELLS})
        room = np.array(_cells(most)) - np.array(_cells(solution.cost))
        possible = (cells + cells.min(axis=0) <= room).all(axis=1)  # with what any other change leaves
        best = np.argsort(np.where(possible, -gains, np.inf), kind="stable")[: min(FIRSTS, possible.sum())]
        pairs: list[tuple[int, ...]] = [(int(at),) for at in best if (cells[at] <= room).all()]
        together = [float(gains[at]) for at in best if (cells[at] <= room).all()]
        for first in best.tolist():
            fits = (stages != stages[first]) & (cells[first] + cells <= room).all(axis=1)
            pairs += [(first, int(second)) for second in np.flatnonzero(fits)]
            together += (gains[first] + gains[fits]).tolist()
        seen = set()
        for each in np.argsort(-np.array(together), kind="stable").tolist():
            chosen = list(solution.choices)
            for change in pairs[each]:
                chosen[changes[change][0]] = changes[change][1]
            folded = tuple((choice.enters, choice.leaves, choice.cycles) for choice in chosen)
            if folded in seen:  # in other memories
                continue
            cost = self._cost(chosen)  # of neighbours that both change it is not the sum of two changes
            if all(getattr(cost, cell) <= most for cell, most in self.budgets.items()):
                seen.add(folded)
                yield self._solution(tuple(chosen), cost)

    def _changes(self, chosen: Sequence[Choice]) -> Iterator[tuple[int, Choice, Resources]]:
        """Every other choice of one stage: its place, it, and what it costs more."""
        before = self._cost(chosen)
        for at, options in enumerate(self._all_choices()):
            for choice in options:
                if choice is not chosen[at]:
                    changed = (*chosen[:at], choice, *chosen[at + 1 :])
                    yield at, choice, self._cost(changed) - before

    def frontier(self) -> Iterator[Solution]:
        """For every rate there is within the budgets its cheapest folding, slowest first; each costs more
        LUTs than the one before."""
        rates = self._rates()
        at = len(rates) - 1
        waiting: Solution | None = None
        while at >= 0 and (found := self._solve(rates[at], BY_COST)) is not None:
            if waiting is not None and waiting.cost.lut < found.cost.lut:
                yield waiting
            waiting = found
            # the same folding is the cheapest for every rate it reaches
            at = int(np.searchsorted(rates, found.cycles)) - 1
        if waiting is not None:
            yield waiting

    def expected(self, solution: Solution) -> CycleEstimate:
        """The cycle model of *solution*, restarts of HLS units counted whatever the costs are."""
        found = solution.design
        edges = (found.inputs, found.outputs) if self.dma else ((), ())
        return estimate(found.layers, *edges)

    def _rates(self) -> list[int]:
        """Every number of cycles a frame that some folding takes, ascending."""
        options = self._all_choices()
        least = max(self.least_cycles, *(min(choice.cycles for choice in stage) for stage in options))
        taken = {choice.cycles for stage in options for choice in stage}
        for at, (before, after) in enumerate(pairwise(options), 1):
            entering = {choice.enters for choice in after}
            for leaving in {choice.leaves for choice in before}:
                taken.update(self._converter_cycles(at, leaving, each) for each in entering)
        return [least, *sorted(cycles for cycles in taken if cycles > least)]

    def _converter_cycles(self, at: int, before: int, after: int) -> int:
        """What stands before stage *at* takes for a frame, from words of *before* to words of *after* bits."""
        return WidthConverter(before, after).cycles(self._entering_bits[at])

    def _all_choices(self) -> list[list[Choice]]:
        return self._choices(None)

    def _choices(self, cycles: int | None) -> list[list[Choice]]:
        """By stage those of at most *cycles* cycles a frame, out of what was listed before where that has them."""
        if not self._listed or (self._most is not None and (cycles is None or cycles > self._most)):
            self._listed = [list(choices_of(stage, self.costs, cycles)) for stage in self._stages]
            self._most = cycles
        if cycles is None or cycles == self._most:
            return self._listed
        return [[choice for choice in stage if choice.cycles <= cycles] for stage in self._listed]

    def _solve(self, cycles: int, objective: int) -> Solution | None:
        options = self._choices(cycles)
        if not all(options):
            return None
        budgets = self._left()
        if objective == BY_COST:
            budgets.pop(FIRST_CELL + CELLS.index("lut"), None)
        path = chain.cheapest(self._chain(options, cycles), budgets, objective)
        if path is None:
            return None
        found = self._taken(options, path)
        return None if found.cost.lut > self.budgets.get("lut", found.cost.lut) else found

    def _left(self) -> dict[int, int]:
        """Column of the chain -> what shell and output leave of its budget."""
        return {TOO_SLOW: 0} | {
            FIRST_CELL + CELLS.index(cell): int(most - getattr(self.costs.fixed, cell))
            for cell, most in self.budgets.items()
        }

    def _taken(self, options: Sequence[Sequence[Choice]], path: chain.Path) -> Solution:
        cells = dict(zip(CELLS, (int(many) for many in path.spent[FIRST_CELL:TOO_SLOW]), strict=True))
        chosen = tuple(stage[at] for stage, at in zip(options, path.choices, strict=True))
        return self._solution(chosen, self.costs.fixed + Resources(**cells))

    def _solution(self, chosen: tuple[Choice, ...], cost: Resources) -> Solution:
        settings = {node: each for choice in chosen for node, each in choice.settings.items()}
        return Solution(
            self.design.folded(Folding("optimised", settings, {})),
            max(
                self.least_cycles,
                *(choice.cycles for choice in chosen),
                *(
                    self._converter_cycles(at, before.leaves, after.enters)
                    for at, (before, after) in enumerate(pairwise(chosen), 1)
                ),
            ),
            sum(choice.fill for choice in chosen),
            cost,
            chosen,
        )

    def _cost(self, chosen: Sequence[Choice]) -> Resources:
        """Of everything, where these are chosen."""
        spent = self.costs.fixed + self.costs.entry(chosen[0].enters) + self.costs.exit(chosen[-1].leaves)
        for choice in chosen:
            spent += choice.cost
        for before, after in pairwise(chosen):
            spent += self.costs.between(before.leaves, after.enters)
        return spent

    def _chain(
        self, options: Sequence[Sequence[Choice]], cycles: int, weights: npt.NDArray[np.float64] | None = None
    ) -> list[chain.StageChoices]:
        stages = []
        before: list[int] | None = None
        counted = np.ones(len(options), np.int64) if weights is None else _whole(weights)
        for at, (stage, weight) in enumerate(zip(options, counted.tolist(), strict=True)):
            entering = sorted({choice.enters for choice in stage})
            leaving = sorted({choice.leaves for choice in stage})
            rows = [_columns(choice.cost, choice.second, weight * choice.fill) for choice in stage]
            if stage is options[-1]:
                rows = [
                    _sum(row, self._standing("exit", choice.leaves))
                    for row, choice in zip(rows, stage, strict=True)
                ]
            between = [
                [
                    self._standing("entry", after)
                    if before is None
                    else self._between(at, width, after, cycles)
                    for after in entering
                ]
                for width in (before or [0])
            ]
            stages.append(
                chain.StageChoices(
                    np.searchsorted(entering, [choice.enters for choice in stage]),
                    np.searchsorted(leaving, [choice.leaves for choice in stage]),
                    np.array(rows, np.int64),
                    np.array(between, np.int64),
                )
            )
            before = leaving
        return stages

    def _between(self, at: int, before: int, after: int, cycles: int) -> list[int]:
        """What stands before stage *at*, and whether it takes more than *cycles* cycles for a frame."""
        columns = self._standing("between", before, after)
        columns[TOO_SLOW] = int(self._converter_cycles(at, before, after) > cycles)
        return columns

    def _standing(self, where: str, *bits: int) -> list[int]:
        """What stands at the input, between two layers, or at the output."""
        cost = getattr(self.costs, where)(*bits)
        ties = self.costs.ties
        return _columns(cost, int(getattr(ties, where)(*bits).lut) if ties else int(cost.bram18))

    def _check_reachable(self, cycles: int) -> None:
        if cycles < self.least_cycles:
            raise UsageError(
                f"the DMA takes {self.least_cycles:,} cycles for a frame, and the rate leaves {cycles:,}: "
                f"no folding changes that",
                fix=f"ask for a rate {self.least_cycles / max(1, cycles):.3g} times lower",
            )
        least, slowest = max(
            (
                (min(choice.cycles for choice in choices_of(stage, _uncounted(self.costs))), stage)
                for stage in self._stages
            ),
            key=lambda entry: entry[0],
        )
        if least > cycles:
            name = " and ".join(layer.name for layer in slowest)
            raise UsageError(
                f"{name} cannot take fewer than {least:,} cycles for a frame, and the rate leaves {cycles:,}",
                fix=f"ask for a rate {least / max(1, cycles):.3g} times lower",
            )

    def _too_much(self, cycles: int) -> UsageError:
        """What is in the way of *cycles* cycles a frame."""
        stages = self._chain(self._choices(cycles), cycles)
        path = chain.least(stages, TOO_SLOW)
        if path is not None and path.spent[TOO_SLOW]:
            return UsageError(
                f"every folding of {cycles:,} cycles a frame needs a width converter that takes more",
                fix="ask for a lower rate",
            )
        for cell, most in self.budgets.items():
            path = chain.least(stages, FIRST_CELL + CELLS.index(cell))
            fixed = int(getattr(self.costs.fixed, cell))
            if (
                path is not None
                and (needed := fixed + int(path.spent[FIRST_CELL + CELLS.index(cell)])) > most
            ):
                return UsageError(
                    f"{cycles:,} cycles a frame take at least {needed:,} {cell.upper()}, the budget is {most:,}",
                    fix="raise that budget, or ask for a lower rate",
                )
        kept = ", ".join(f"{most:,} {cell.upper()}" for cell, most in self.budgets.items())
        return UsageError(
            f"no folding of {cycles:,} cycles a frame keeps all budgets together: {kept}",
            fix="raise one of them, or ask for a lower rate",
        )


def _bits(layer: Layer) -> int:
    """What *layer* reads of one frame."""
    return layer.in_values * parse_datatype(layer.input).bits


def _whole(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """*weights* in thousandths: the chain counts in whole numbers."""
    return np.rint(weights * 1000).astype(np.int64)


def _cells(cost: Resources) -> list[float]:
    return [getattr(cost, cell) for cell in CELLS]


def _columns(cost: Resources, second: int, fill: int = 0) -> list[int]:
    cells = [int(getattr(cost, cell)) for cell in CELLS]
    return [cells[0] * MOST + second, fill * MOST + cells[0], *cells, 0]


def _sum(ours: list[int], theirs: list[int]) -> list[int]:
    return [one + other for one, other in zip(ours, theirs, strict=True)]


def _uncounted(costs: Costs) -> Costs:
    return replace(costs, layer=lambda *_: Resources(), ties=None)
