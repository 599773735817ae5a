"""A colour image that a network lays flat: the accelerator takes it as a board sends it, and answers alike."""

import numpy as np
import pytest

from labd_host.explore.for_a_rate import CheapestFolding
from labd_host.flow import compile_network
from labd_host.networks.exported import ExportedModel
from support.small_exports import GraphWriter, saved

SIDE, COLOURS, CLASSES = 4, 3, 5
VALUES = SIDE * SIDE * COLOURS


def network(entered, flatten, product):
    g = GraphWriter(seed=9)
    x = flatten(g, entered(g))
    x = product(g, x)
    x = g.quant(g.op("Relu", g.norm(x, 8, np.sqrt(VALUES))), 2, 0.5, signed=0)
    x = g.op("MatMul", x, g.weight((8, CLASSES)))
    return g.model(x, (1, COLOURS, SIDE, SIDE), (1, CLASSES))


def images(count):
    return np.random.default_rng(3).integers(0, 256, (count, SIDE, SIDE, COLOURS), np.uint8)


def reshape(g, x):
    return g.op("Reshape", x, g.const([1, VALUES], np.int64))


def flatten(g, x):
    return g.op("Flatten", x, axis=1)


def matmul(g, x):
    return g.op("MatMul", x, g.weight((VALUES, 8)))


def gemm(g, x):
    return g.op("Gemm", x, g.weight((8, VALUES)), g.const(np.arange(8) / 8), transB=1)


def transposed(g, x):
    """torch's Linear by its older exporter: the quantised weights are transposed."""
    return g.op("MatMul", x, g.op("Transpose", g.weight((8, VALUES)), perm=[1, 0]))


def a_value_each(g, x):
    """Something for each value, behind the Flatten, in the network's own order."""
    x = g.op("Mul", x, g.const(np.where(np.arange(VALUES) % 5 < 2, 0.53, 1.0)[np.newaxis]))
    return matmul(g, g.quant(x, 4, 0.13, narrow=0))


def own_mean(g):
    """A mean for each channel in front of the quantiser."""
    mean = g.const(np.array([0.25, 0.5, 0.75]).reshape(1, 3, 1, 1))
    return g.quant(g.op("Sub", "x", mean), 4, 1 / 8, narrow=0)


@pytest.mark.parametrize(
    ("entered", "flat", "product"),
    [
        (lambda g: g.pixels(), reshape, matmul),
        (lambda g: "x", flatten, gemm),
        (lambda g: g.bipolar(g.op("Sub", "x", g.const(0.5))), reshape, transposed),
        (own_mean, flatten, matmul),
        (lambda g: g.pixels(), flatten, a_value_each),
    ],
    ids=["pixels in 8 bits", "pixels as they are", "signs", "a mean a channel", "a scale a value"],
)
def test_an_image_laid_flat_is_taken_as_it_is_sent(entered, flat, product, tmp_path):
    path = saved(network(entered, flat, product), tmp_path / "flat.onnx")
    many = images(50)
    made = compile_network(
        path, folding=CheapestFolding(), out=tmp_path / "out", images=many[:2], many_images=many
    )
    assert made.stages[-1].name == "answers"
    scores = ExportedModel(path).run(many)
    golden = made.golden.run(many.reshape(len(many), -1)).outputs[0].ravel()
    assert np.allclose(scores[np.arange(50), golden], scores.max(axis=1))
