"""The search along a chain: what brute force finds, on random chains small enough for it."""

import itertools

import numpy as np
import pytest

from labd_host.explore.chain import StageChoices, cheapest, least

COLUMNS = 4


def chain_of(rng, stages, choices, widths):
    found, before = [], 1
    for _ in range(stages):
        many = int(rng.integers(1, choices + 1))
        found.append(
            StageChoices(
                rng.integers(0, widths, many),
                rng.integers(0, widths, many),
                rng.integers(0, 40, (many, COLUMNS)),
                rng.integers(0, 15, (before, widths, COLUMNS)),
            )
        )
        before = widths
    return found


def spent(stages, choices):
    total, left = np.zeros(COLUMNS, np.int64), 0
    for stage, choice in zip(stages, choices, strict=True):
        total += stage.costs[choice] + stage.entry[left, stage.enters[choice]]
        left = stage.leaves[choice]
    return total


def brute_force(stages, budgets, objective):
    best = None
    for choices in itertools.product(*(range(len(stage.enters)) for stage in stages)):
        total = spent(stages, choices)
        if all(total[column] <= most for column, most in budgets.items()):
            best = total[objective] if best is None else min(best, total[objective])
    return best


@pytest.mark.parametrize("limited", [(), (1,), (1, 2), (1, 2, 3), (0, 2)])
def test_no_path_within_the_budgets_is_cheaper(limited):
    rng = np.random.default_rng([20261124, *limited])
    kinds = set()
    for _ in range(30):
        stages = chain_of(rng, stages=int(rng.integers(1, 5)), choices=5, widths=3)
        typical = spent(stages, [0] * len(stages))
        budgets = {column: int(typical[column] * rng.uniform(0.5, 1.1)) for column in limited}
        found = cheapest(stages, budgets)
        expected = brute_force(stages, budgets, 0)
        kinds.add(expected is None)
        assert (None if found is None else found.spent[0]) == expected
        if found is not None:
            np.testing.assert_array_equal(found.spent, spent(stages, found.choices))
            assert all(found.spent[column] <= most for column, most in budgets.items())
    assert kinds == ({True, False} if limited else {False}), "the budgets are sometimes too small"


def test_any_column_can_be_what_is_minimised():
    stages = chain_of(np.random.default_rng(5), stages=4, choices=5, widths=3)
    for column in range(COLUMNS):
        assert least(stages, column).spent[column] == brute_force(stages, {}, column)


def test_a_stage_without_a_choice_ends_every_path():
    stages = chain_of(np.random.default_rng(6), stages=2, choices=3, widths=2)
    none = np.zeros(0, np.int64)
    stages.append(
        StageChoices(none, none, np.zeros((0, COLUMNS), np.int64), np.zeros((2, 2, COLUMNS), np.int64))
    )
    assert cheapest(stages, {}) is None
