"""A Flatten between a convolution and its quantiser."""

import onnx
import pytest

from labd_host.dataflow.layers import Mvau
from labd_host.rewrites.flat_quantisers import quantise_before_flattening
from support.qonnx_graphs import QonnxGraph, compiled


def flattened(body):
    """Quantised pixels, a convolution, *body*(g, x) -> (x, values), a hidden layer and scores."""
    g = QonnxGraph()
    x, values = body(g, g.conv(g.quant("x", 8, 1 / 255, signed=0), 3, 4))
    x = g.act(g.product(x, values, 12), 12, 4.0, scale=0.5)
    return g, g.product(x, 12, 10, scale=0.25), (1, 3, 5, 5)


def relu(g, x):
    return g.quant(g.op("Relu", g.op("Flatten", g.norm(x, 4, 2.0))), 3, 0.37, signed=0), 36


def one_pixel(g, x):
    x = g.op("Flatten", g.conv(g.act(x, 4, 2.0), 4, 6))
    return g.quant(g.op("Tanh", g.norm(x, 6, 3.0, falling=True)), 3, 0.29), 6


@pytest.mark.parametrize("body", [relu, one_pixel])
def test_the_quantiser_goes_in_front_into_the_product(body, tmp_path):
    g, out, shape = flattened(body)
    result = compiled(g.write(tmp_path / "network.onnx", out, shape), tmp_path / "out", (5, 5, 3))
    layers = [layer for layer in result.golden.network.layers if isinstance(layer, Mvau)]
    assert all(layer.steps for layer in layers[:-1])
    assert result.stages[-1].proof.tensors == 2


def test_a_flatten_of_pixels_and_of_quantised_maps_stays(tmp_path):
    g = QonnxGraph()
    x = g.act(g.conv(g.quant("x", 8, 1 / 255, signed=0), 3, 4), 4, 2.0)
    x = g.quant(g.op("Flatten", x), 2, 0.5, signed=0)
    graph = onnx.load(str(g.write(tmp_path / "n.onnx", g.product(x, 36, 10), (1, 3, 5, 5)))).graph
    flatten = next(node for node in graph.node if node.op_type == "Flatten")
    value = onnx.helper.make_tensor_value_info
    graph.value_info.append(value(flatten.input[0], onnx.TensorProto.FLOAT, [1, 4, 3, 3]))
    assert quantise_before_flattening(graph) == []
