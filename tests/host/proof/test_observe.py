"""Levels, sums, label and scores, read off graphs of plain data."""

import numpy as np
import pytest

from labd_host.proof.observe import observe
from labd_host.proof.plain_graph import Graph, GraphTrace, Node
from labd_shared.errors import StageFailed, StageMismatch

X = np.array([[-1.0, 0.5, 0.0], [-0.5, 0.5, 0.5]])  # two frames of 2-bit signed values in steps of 0.5
W = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * 0.25


def node(name, op, inputs, output, **attributes):
    return Node(name, op, tuple(inputs), (output,), attributes)


def network(*, behind=(), last="sums", constants=None, trace=None):
    """Quantised input and weights, a product, and what *behind* adds; its constants and values by name."""
    nodes = (
        node("quant", "Quant", ["in", "half", "zero", "two"], "x", signed=1, narrow=0),
        node("weights", "BipolarQuant", ["latent", "quarter"], "w"),
        node("product", "MatMul", ["x", "w"], "sums"),
        *behind,
    )
    values = {"in": X, "x": X, "sums": X @ W, **(trace or {})}
    scales = {"half": np.array(0.5), "zero": np.array(0.0), "two": np.array(2.0), "quarter": np.array([0.25])}
    graph = Graph(
        nodes=nodes,
        constants={**scales, "latent": W, **(constants or {})},
        datatypes={},
        shapes={},
        input="in",
        output=last,
    )
    return graph, GraphTrace(values=values, sums={}, constants={"w": W})


def test_levels_count_from_the_lowest_and_sums_lose_both_scales():
    found = observe(*network())
    levels, sums, label = found.points
    assert (levels.kind, levels.layer, levels.values.tolist()) == ("levels", "quant", [[0, 3, 2], [1, 3, 3]])
    assert (sums.kind, sums.layer, sums.values.tolist()) == ("sums", "product", [[-1, 3], [-1, 3]])
    assert (label.kind, label.values.tolist()) == ("label", [[1], [1]])
    assert (found.scores.scale, found.scores.offset) == (0.125, 0.0)


def test_scores_behind_a_scale_and_an_offset_are_followed():
    behind = (
        node("scale", "Div", ["sums", "by"], "scaled"),
        node("offset", "Sub", ["scaled", "less"], "scores"),
    )
    constants = {"by": np.array([0.5]), "less": np.array(3.0)}
    scores = X @ W / 0.5 - 3
    values = {"scaled": X @ W / 0.5, "scores": scores}
    found = observe(*network(behind=behind, last="scores", constants=constants, trace=values))
    assert (found.scores.tensor, found.scores.scale, found.scores.offset) == ("scores", 0.25, -3.0)
    bent = {**values, "scores": scores + np.array([[0, 0], [0, 0.01]])}
    with pytest.raises(
        StageMismatch, match=r"image 1, class 1 has -2.24 where -2.25 follows from its logit 3"
    ):
        observe(*network(behind=behind, last="scores", constants=constants, trace=bent))


def test_scores_that_turn_the_order_round_are_refused():
    behind = (node("scale", "Mul", ["sums", "by"], "scores"),)
    values = {"scores": -(X @ W)}
    with pytest.raises(StageMismatch, match="must be one positive scale"):
        observe(*network(behind=behind, last="scores", constants={"by": np.array(-1.0)}, trace=values))


def test_a_scale_for_each_class_is_no_function_of_the_logits():
    behind = (node("scale", "Mul", ["sums", "by"], "scores"),)
    values = {"scores": X @ W * [1, 2]}
    found = observe(
        *network(behind=behind, last="scores", constants={"by": np.array([1.0, 2.0])}, trace=values)
    )
    assert found.scores is None


def test_an_operand_that_no_quantiser_made_is_named():
    graph, trace = network()
    smooth = (node("tanh", "Tanh", ["in"], "x"), *graph.nodes[1:])
    graph = Graph(smooth, graph.constants, {}, {}, "in", "sums")
    with pytest.raises(StageFailed, match=r"operand x of a matrix product .* tanh \(Tanh\), no quantiser"):
        observe(graph, trace)


def test_values_that_are_no_multiples_of_their_scale_are_refused():
    with pytest.raises(StageFailed, match=r"levels of quant are no integers: 0\.5"):
        observe(*network(trace={"x": np.array([[-0.75, 0.5, 0.0], [0, 0, 0]])}))


def test_a_scale_that_is_computed_is_refused():
    graph, trace = network()
    constants = {name: value for name, value in graph.constants.items() if name != "half"}
    with pytest.raises(StageFailed, match=r"quant \(Quant\) computes its parameter half"):
        observe(Graph(graph.nodes, constants, {}, {}, "in", "sums"), trace)
