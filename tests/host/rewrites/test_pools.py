"""Max-pools in front of their quantiser, in the orders that people write."""

import numpy as np
import onnx
import pytest

from labd_host.dataflow.layers import MaxPool, Mvau, Padding, SlidingWindow, Thresholding
from labd_host.rewrites.pools import move_behind_quantisers
from labd_shared.errors import ArtifactError
from support.qonnx_graphs import QonnxGraph, compiled, quick

SIDE = 9


def network(body):
    """Quantised pixels, a convolution, *body*, a hidden layer and scores; body(g, x) -> (x, side of its maps)."""
    g = QonnxGraph()
    x, side = body(g, g.conv(g.quant("x", 8, 1 / 255, signed=0), 3, 4, kernel=(2, 2), bits=4))
    out = x if side is None else g.head(x, 4 * side * side, spread=4.0)
    return g, out


def relu(g, x, bits=3):
    return g.quant(g.op("Relu", x), bits, 0.37, signed=0)


def flattened(g, x):
    x = g.quant(g.reshape(g.pool(g.op("Relu", g.norm(x, 4, 2.0))), 1, 64), 3, 0.37, signed=0)
    return g.product(g.act(g.product(x, 64, 12), 12, 5.0, scale=0.5), 12, 10, scale=0.25), None


MOVED = {
    "norm, pool, relu": lambda g, x: (relu(g, g.pool(g.norm(x, 4, 2.0))), 4),
    "a negative norm in front": lambda g, x: (relu(g, g.pool(g.norm(x, 4, 2.0, falling=True))), 4),
    "pool, norm, relu": lambda g, x: (relu(g, g.norm(g.pool(x), 4, 2.0)), 4),
    "norm, relu, pool": lambda g, x: (g.quant(g.pool(g.op("Relu", g.norm(x, 4, 2.0))), 3, 0.37, signed=0), 4),
    "one bit": lambda g, x: (g.quant(g.pool(g.norm(x, 4, 2.0, falling=True)), 1, 1.0), 4),
    "a sigmoid": lambda g, x: (g.quant(g.op("Sigmoid", g.pool(g.norm(x, 4, 2.0))), 3, 0.13, signed=0), 4),
    "a Flatten in between": flattened,
    "overlapping": lambda g, x: (relu(g, g.pool(g.norm(x, 4, 2.0), (3, 3), strides=[1, 1])), 6),
    "padded": lambda g, x: (relu(g, g.pool(g.norm(x, 4, 2.0), (3, 3), strides=[2, 2], pads=[1] * 4)), 4),
    "two pools": lambda g, x: (relu(g, g.pool(g.pool(g.norm(x, 4, 2.0)))), 2),
}


@pytest.mark.parametrize("name", quick(MOVED, "norm, pool, relu", "a Flatten in between"))
def test_a_pool_in_front_of_a_rising_quantiser_is_moved_behind_it(name, tmp_path):
    g, out = network(MOVED[name])
    path = g.write(tmp_path / "network.onnx", out, (1, 3, SIDE, SIDE))
    result = compiled(path, tmp_path / "out", (SIDE, SIDE, 3))
    layers = [type(layer) for layer in result.golden.network.layers]
    assert layers[:4] == [Thresholding, SlidingWindow, Mvau, Padding if name == "padded" else SlidingWindow]
    assert layers.count(MaxPool) == (2 if name == "two pools" else 1)
    assert result.golden.network.layers[2].steps, "the quantiser is inside the product in front of the pool"
    assert result.stages[-1].name == "answers" and result.stages[-1].proof.tensors == 2


def graph_of(body, folder):
    g, out = network(body)
    return onnx.load(str(g.write(folder / "network.onnx", out, (1, 3, SIDE, SIDE)))).graph


@pytest.mark.parametrize(
    "body",
    [
        lambda g, x: (g.pool(g.quant(g.norm(x, 4, 2.0), 3, 0.37)), 4),
        lambda g, x: (relu(g, g.norm(g.op("Mul", g.pool(g.quant(x, 4, 1.0)), g.const(0.5)), 4, 2.0)), 4),
    ],
    ids=["behind its quantiser", "between two quantisers"],
)
def test_a_pool_of_quantised_values_stays(body, tmp_path):
    graph = graph_of(body, tmp_path)
    before = graph.SerializeToString()
    assert move_behind_quantisers(graph) == []
    assert graph.SerializeToString() == before


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            lambda g, x: (relu(g, g.norm(g.pool(g.norm(x, 4, 2.0)), 4, 2.0, falling=True)), 4),
            r"MaxPool_4 \(MaxPool\) takes .*: BatchNormalization_5 \(BatchNormalization\) stands in .* falls in 2 of 4",
        ),
        (
            lambda g, x: (relu(g, g.op("LeakyRelu", g.pool(g.norm(x, 4, 2.0)), alpha=-0.5)), 4),
            r"MaxPool_4 .*: LeakyRelu_5 \(LeakyRelu\) stands in the way, it falls for negative values",
        ),
        (
            lambda g, x: (relu(g, g.op("HardSwish", g.pool(g.norm(x, 4, 2.0)))), 4),
            r"MaxPool_4 .*: HardSwish_5 \(HardSwish\) stands in the way, it is not known to rise",
        ),
        (
            lambda g, x: (g.product(g.reshape(g.pool(g.norm(x, 4, 2.0)), 1, 64), 64, 10), None),
            r"MaxPool_4 .* and no quantiser follows",
        ),
    ],
    ids=["falls", "leaky", "unknown", "no quantiser"],
)  # fmt: skip
def test_a_pool_that_cannot_be_moved_is_named_with_what_is_in_its_way(body, says, tmp_path):
    with pytest.raises(ArtifactError, match=says):
        move_behind_quantisers(graph_of(body, tmp_path))


def test_a_branch_is_left_to_admission(tmp_path):
    def forked(g, x):
        x = g.pool(g.norm(x, 4, 2.0))
        return g.op("Add", relu(g, x), relu(g, x)), 4

    assert move_behind_quantisers(graph_of(forked, tmp_path)) == []


def test_the_largest_of_a_rising_function_is_the_function_of_the_largest():
    values = np.random.default_rng(1).normal(size=(1000, 4)).astype(np.float32)
    assert np.array_equal(np.tanh(values).max(axis=1), np.tanh(values.max(axis=1)))
