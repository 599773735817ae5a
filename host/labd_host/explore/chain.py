"""The cheapest way along a chain of stages under budgets, and the proof that there is none cheaper.

Every stage takes one of its choices; what stands between two neighbours depends on the widths they leave
and enter with. That is a shortest path with resource limits. It is solved exactly, in three steps that
each end the search where they can:

1. Without budgets it is a shortest path over widths (dynamic programming, backwards). If that keeps the
   budgets it is the answer; if the least possible of one resource alone breaks its budget there is none.
2. Budgets that were broken get prices (Lagrange multipliers). The shortest path at any prices bounds the
   answer from below; one that keeps the budgets bounds it from above.
3. Labels (what was spent so far) go forward through the stages. One is dropped when another of the same
   width has spent no more of anything, or when the cheapest rest breaks a budget or the upper bound.

Only budgets that are broken become part of a label, one after the other. Costs are whole numbers, so
nothing is rounded.

Source: the labels are those of Desrochers & Soumis (1988); the bounds of Beasley & Christofides (1989).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]
NEVER = 1 << 60
SCALE = 16  # parts of the objective's unit that prices are counted in
PRICE_STEPS, STEP = 60, 0.1  # of several prices together; how far above the bound the first aims
RAISED = 64  # times the prices of the best bound: what surely keeps the budgets, if anything does
NARROWINGS = (0, 1, 2, 3)  # each limit lies four times as far above the lower bound; the last is none
BLOCK = 256


@dataclass(frozen=True)
class StageChoices:
    """The choices of one stage.

    Attributes:
        enters, leaves: (n,) index of the width before and behind.
        costs: (n, columns) what each choice spends.
        entry: (widths left by the stage before, widths that enter, columns): what stands in between;
            the first stage has one width before it.
    """

    enters: Whole
    leaves: Whole
    costs: Whole
    entry: Whole


@dataclass(frozen=True)
class Path:
    """A choice for every stage.

    Attributes:
        choices: Index of the choice, by stage.
        spent: (columns,) altogether.
    """

    choices: tuple[int, ...]
    spent: Whole


def cheapest(stages: Sequence[StageChoices], budgets: Mapping[int, int], objective: int = 0) -> Path | None:
    """The path that spends least of column *objective* within *budgets* (column -> the most), or None.

    Exact: no path within the budgets spends less.
    """
    search = _Search(stages, dict(budgets), objective)
    return search.run()


def near(stages: Sequence[StageChoices], budgets: Mapping[int, int], objective: int = 0) -> Path | None:
    """A path within *budgets* that spends little of column *objective*: the best that prices find (steps 1 and 2).

    None says that they found none, not that there is none.
    """
    return _Search(stages, dict(budgets), objective).near()


def least(stages: Sequence[StageChoices], column: int) -> Path | None:
    """The path that spends least of *column*; None where a stage has no choice."""
    return cheapest(stages, {}, column)


class _Search:
    def __init__(self, stages: Sequence[StageChoices], budgets: dict[int, int], objective: int) -> None:
        self.stages, self.budgets, self.objective = stages, budgets, objective
        columns = stages[0].costs.shape[1]
        self.axes = np.eye(columns, dtype=np.int64)

    def run(self) -> Path | None:
        if any(not len(stage.enters) for stage in self.stages):
            return None
        found = self._shortest(self.axes[self.objective])[0]
        broken = self._broken(found)
        if not broken:
            return found
        rests = {}
        for column, budget in self.budgets.items():
            path, rests[column] = self._shortest(self.axes[column])
            if path.spent[column] > budget:
                return None
        active: list[int] = []
        while broken:
            active.append(max(broken, key=lambda column: found.spent[column] / max(1, self.budgets[column])))
            answer = self._labelled(active, rests)
            if answer is None:
                return None
            found = answer
            broken = self._broken(found)
        return found

    def near(self) -> Path | None:
        """The shortest path, or of those at prices the one that keeps the budgets and spends least."""
        if any(not len(stage.enters) for stage in self.stages):
            return None
        found = self._shortest(self.axes[self.objective])[0]
        if not self._broken(found):
            return found
        tried = self._tried(list(self.budgets))
        prices = {column: max(1, price) for column, price in tried.prices.items()}
        low, high = 0, RAISED * SCALE  # by how much all prices together are raised
        while high - low > 1:
            middle = (low + high) // 2
            path = tried.path({column: price * middle // SCALE for column, price in prices.items()})
            low, high = (middle, high) if self._broken(path) else (low, middle)
        return tried.best

    def _labelled(self, active: list[int], rests: Mapping[int, list[Whole]]) -> Path | None:
        """The best path within the budgets of *active* (steps 2 and 3), or one that keeps all budgets.

        Labels are carried under a limit a little above the lower bound first: a path under the limit
        is the best there is, and few labels stay under it.
        """
        best, weights, bound = self._priced(active)
        most = NEVER if best is None else int(best.spent[self.objective]) * SCALE
        for share in NARROWINGS:
            reach = (
                max(1, abs(bound) >> 6) << 2 * share if best is None else ((most - bound) >> 4) << 2 * share
            )
            limit = min(most - 1, bound + reach) if share < NARROWINGS[-1] else most - 1
            found = _Labels(self, active, rests, weights, limit).run()
            if found is not None:
                value = int(found.spent[self.objective]) * SCALE
                if value <= limit:
                    return found
                if value < most and not self._broken(found):
                    best, most = found, value
            if limit >= most - 1:
                return best
        return best

    def _broken(self, path: Path) -> list[int]:
        return [column for column, budget in self.budgets.items() if path.spent[column] > budget]

    def _shortest(self, weights: Any) -> tuple[Path, list[Whole]]:
        """The path of the least weighted sum, and by stage and width left the least rest behind it."""
        rests: list[Whole] = [np.zeros(1, np.int64)] * len(self.stages)
        rest = np.zeros(int(self.stages[-1].leaves.max()) + 1, np.int64)
        firsts = []
        for at in reversed(range(len(self.stages))):
            stage = self.stages[at]
            rests[at] = rest
            whole = stage.costs @ weights + rest[stage.leaves]
            entering = np.full(stage.entry.shape[1], NEVER)
            np.minimum.at(entering, stage.enters, whole)
            total = stage.entry @ weights + entering
            rest = total.min(axis=1)
            firsts.append((whole, entering, total.argmin(axis=1)))
        choices, left = [], 0
        for stage, (whole, entering, via) in zip(self.stages, reversed(firsts), strict=True):
            width = via[left]
            choice = int(np.flatnonzero((stage.enters == width) & (whole == entering[width]))[0])
            choices.append(choice)
            left = int(stage.leaves[choice])
        return Path(tuple(choices), self._spent(choices)), rests

    def _spent(self, choices: Sequence[int]) -> Whole:
        spent = np.zeros(self.axes.shape[0], np.int64)
        left = 0
        for stage, choice in zip(self.stages, choices, strict=True):
            spent += stage.costs[choice] + stage.entry[left, stage.enters[choice]]
            left = int(stage.leaves[choice])
        return spent

    def _priced(self, active: Sequence[int]) -> tuple[Path | None, Whole, int]:
        """The best path seen that keeps the budgets, the weights of the best lower bound, and that bound."""
        tried = self._tried(active)
        return tried.best, self._weights(tried.prices), tried.bound

    def _tried(self, active: Sequence[int]) -> _Tried:
        """What was seen at the prices that seemed best.

        One price is found by bisection, several by Polyak's steps along what each budget is broken by.
        Prices are whole numbers of 1/SCALE of the objective's unit, so bounds stay exact.
        """
        tried = _Tried(self, active)
        prices = dict.fromkeys(active, 0)
        for column in active:
            low, high = 0, 1 << 38
            while high - low > max(1, high >> 7):
                middle = (low + high) // 2 if low else max(1, high >> 3)
                prices[column] = middle
                if tried.path(prices).spent[column] > self.budgets[column]:
                    low = middle
                else:
                    high = middle
            prices[column] = high
        if len(active) > 1:
            near, steps = STEP, 0
            prices = dict(tried.prices)
            while steps < PRICE_STEPS:
                path, bound = tried.path(prices), tried.bound
                over = {
                    key: (int(path.spent[key]) - self.budgets[key]) / max(1, self.budgets[key])
                    for key in active
                }
                aim = bound + abs(bound) * near - tried.value
                step = aim / max(1e-12, sum(each * each for each in over.values()))
                prices = {
                    key: max(0, int(prices[key] + step * each / max(1, self.budgets[key])))
                    for key, each in over.items()
                }
                steps += 1
                near *= 0.93
        return tried

    def _weights(self, prices: Mapping[int, int]) -> Whole:
        weights: Whole = self.axes[self.objective] * SCALE
        for column, price in prices.items():
            weights = weights + self.axes[column] * price
        return weights


class _Tried:
    """Prices that were tried: the best bound and the best path so far."""

    def __init__(self, search: _Search, active: Sequence[int]) -> None:
        self.search, self.active = search, active
        self.best: Path | None = None
        self.bound, self.value = -NEVER, -NEVER
        self.prices = dict.fromkeys(active, 0)

    def path(self, prices: Mapping[int, int]) -> Path:
        """The shortest path at *prices*, noted."""
        search = self.search
        weights = search._weights(prices)
        path = search._shortest(weights)[0]
        self.value = int(path.spent @ weights) - sum(prices[key] * search.budgets[key] for key in self.active)
        if self.value > self.bound:
            self.bound, self.prices = self.value, dict(prices)
        worth = path.spent[search.objective]
        if not search._broken(path) and (self.best is None or worth < self.best.spent[search.objective]):
            self.best = path
        return path


class _Labels:
    """Step 3: what was spent so far, carried forward under a limit of the priced sum."""

    def __init__(
        self, search: _Search, active: list[int], rests: Mapping[int, list[Whole]], weights: Whole, limit: int
    ) -> None:
        self.search, self.stages, self.active = search, search.stages, active
        self.kept = [search.objective, *active]
        self.weights, self.rests = weights, rests
        self.priced_rests = search._shortest(weights)[1]
        self.limit = limit + sum(int(weights[column]) * search.budgets[column] for column in active)
        self.useful = self._useful_choices()

    def _useful_choices(self) -> list[Whole]:
        """By stage the choices through which some path stays under the limit."""
        useful = []
        before = np.zeros(1, np.int64)
        for stage, rest in zip(self.stages, self.priced_rests, strict=True):
            entering = (before[:, None] + stage.entry @ self.weights).min(axis=0)
            whole = entering[stage.enters] + stage.costs @ self.weights
            useful.append(whole + rest[stage.leaves] <= self.limit)
            before = np.full(len(rest), NEVER)
            np.minimum.at(before, stage.leaves, whole)
        return useful

    def run(self) -> Path | None:
        """The path that spends least of the objective within the active budgets and the limit, or None."""
        spent = np.zeros((1, len(self.kept)), np.int64)
        left = np.zeros(1, np.int64)
        history: list[tuple[Whole, Whole]] = []
        for at, stage in enumerate(self.stages):
            parts = []
            useful = self.useful[at]
            for width in np.unique(stage.enters[useful]):
                choices = np.flatnonzero((stage.enters == width) & useful)
                reached = spent + stage.entry[left, width][:, self.kept]
                labels = _undominated(reached)
                whole = reached[labels][:, None, :] + stage.costs[choices][None][:, :, self.kept]
                parts.append(
                    (
                        whole.reshape(-1, len(self.kept)),
                        np.repeat(labels, len(choices)),
                        np.tile(choices, len(labels)),
                    )
                )
            if not parts:
                return None
            spent = np.concatenate([part[0] for part in parts])
            parents = np.concatenate([part[1] for part in parts])
            chosen = np.concatenate([part[2] for part in parts])
            left = stage.leaves[chosen]
            kept = self._promising(at, spent, left)
            spent, parents, chosen, left = spent[kept], parents[kept], chosen[kept], left[kept]
            kept = np.concatenate(
                [
                    np.flatnonzero(left == width)[_undominated(spent[left == width])]
                    for width in np.unique(left)
                ]
                or [np.zeros(0, np.int64)]
            )
            spent, left = spent[kept], left[kept]
            history.append((parents[kept], chosen[kept]))
            if not len(spent):
                return None
        return self._path(int(spent[:, 0].argmin()), history)

    def _promising(self, at: int, spent: Whole, left: Whole) -> Whole:
        """The labels whose cheapest rests keep the budgets and stay under the limit."""
        fine = np.ones(len(spent), bool)
        for place, column in enumerate(self.active, 1):
            fine &= spent[:, place] + self.rests[column][at][left] <= self.search.budgets[column]
        fine &= spent @ self.weights[self.kept] + self.priced_rests[at][left] <= self.limit
        return np.flatnonzero(fine)

    def _path(self, label: int, history: Sequence[tuple[Whole, Whole]]) -> Path:
        choices = []
        for parents, chosen in reversed(history):
            choices.append(int(chosen[label]))
            label = int(parents[label])
        choices.reverse()
        return Path(tuple(choices), self.search._spent(choices))


def _undominated(spent: Whole) -> Whole:
    """Rows that no other row beats or equals in every column; of equal rows the first."""
    order = np.lexsort(spent.T[::-1])
    rows = spent[order]
    if rows.shape[1] == 1:
        return order[:1]
    if rows.shape[1] == 2:
        least_before = np.minimum.accumulate(rows[:, 1])
        fresh = np.ones(len(rows), bool)
        fresh[1:] = rows[1:, 1] < least_before[:-1]
        return order[fresh]
    if rows.shape[1] == 3:
        return order[_staircase(rows[:, 1].tolist(), rows[:, 2].tolist())]
    kept = np.zeros(0, np.int64)
    for start in range(0, len(rows), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(rows)))
        block = block[~_beaten(rows[block], rows[kept])]
        again = _beaten(rows[block], rows[block], earlier=True)
        kept = np.concatenate([kept, block[~again]])
    return order[kept]


def _staircase(firsts: list[int], seconds: list[int]) -> list[int]:
    """Which pairs, in this order, no earlier one beats or equals in both."""
    kept: list[int] = []
    steps: list[int] = []  # firsts of the pairs that count, ascending, and their seconds, descending
    heights: list[int] = []
    for at, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
        place = bisect_right(steps, first)
        if place and heights[place - 1] <= second:
            continue
        end = place
        while end < len(steps) and heights[end] >= second:
            end += 1
        steps[place:end] = [first]
        heights[place:end] = [second]
        kept.append(at)
    return kept


def _beaten(rows: Whole, others: Whole, *, earlier: bool = False) -> npt.NDArray[np.bool_]:
    """Which *rows* some of *others* beats or equals in every column but the first, by which both are sorted."""
    beats = np.ones((len(rows), len(others)), bool)
    for column in range(1, rows.shape[1]):
        beats &= others[None, :, column] <= rows[:, None, column]
    if earlier:
        beats &= np.arange(len(others))[None] < np.arange(len(rows))[:, None]
    return np.asarray(beats.any(axis=1))
