"""Figures: numbers that keep their unit and origin."""

import copy
import json
import pickle

import labd


def test_a_figure_computes_and_prints_as_a_float_and_its_repr_says_where_it_is_from():
    figure = labd.Figure(93.55, "%", "golden model")
    assert figure + 1 == 94.55 and f"{figure:.1f}" == "93.5" and str(figure) == "93.55"
    assert repr(figure) == "93.55 % (golden model)"
    assert repr(labd.Figure(1020408.2, "frames/s", "modelled")) == "1,020,408 frames/s (modelled)"
    assert json.dumps({"a": figure}) == '{"a": 93.55}'


def test_a_copy_keeps_unit_and_origin():
    figure = labd.Figure(98, "cycles", "modelled")
    for again in (copy.copy(figure), copy.deepcopy(figure), pickle.loads(pickle.dumps(figure))):  # noqa: S301
        assert (again, again.unit, again.origin) == (98, "cycles", "modelled")
