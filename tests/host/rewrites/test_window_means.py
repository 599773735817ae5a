"""Averages of windows and of oblong maps as depthwise convolutions."""

import numpy as np
import onnx
import pytest

from labd_host.dataflow.layers import Vvau
from labd_host.rewrites.window_means import sum_windows
from support.qonnx_graphs import QonnxGraph, compiled, quick


def averaged(kind, shape, *, quantised=True, flatten=False, constants=(), **attributes):
    """Quantised pixels, a convolution of 4 channels, an average, a quantiser, a hidden layer and scores."""
    g = QonnxGraph()
    kernel = (3,) * (len(shape) - 2)
    x = g.act(g.conv(g.quant("x", 8, 1 / 255, signed=0), shape[1], 4, kernel), 4, 2.0)
    x = g.op(kind, x, *(g.const(each, np.int64) for each in constants), **attributes)
    sizes = [size - 2 for size in shape[2:]]
    if kind == "AveragePool" and attributes["strides"] != [1, 1]:
        sizes = [size // 2 for size in sizes]
    values = 4 * int(np.prod(sizes)) if kind == "AveragePool" else 4
    x = g.op("Flatten", x) if flatten else x
    x = g.quant(x, 4, 0.1093, signed=0) if quantised else x
    x = x if flatten or attributes.get("keepdims") == 0 else g.reshape(x, 1, values)
    x = g.act(g.product(x, values, 12), 12, 3.0, scale=0.5)
    return g, g.product(x, 12, 10, scale=0.25), shape


AVERAGES = {
    "of 2 x 2": averaged("AveragePool", (1, 3, 8, 8), kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4),
    "of 3 x 3, padded": averaged(
        "AveragePool", (1, 2, 7, 8), kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4, count_include_pad=1
    ),
    "over one axis": averaged("AveragePool", (1, 2, 20), kernel_shape=[2], strides=[2], pads=[0, 0]),
    "of an oblong map": averaged("GlobalAveragePool", (1, 3, 8, 10)),
    "of a length": averaged("GlobalAveragePool", (1, 2, 20)),
    "of an oblong map, flattened": averaged("GlobalAveragePool", (1, 3, 8, 10), flatten=True),
    "of a length, without its axis": averaged("ReduceMean", (1, 2, 20), constants=[[-1]], keepdims=0),
}


@pytest.mark.parametrize("name", quick(AVERAGES, "of 2 x 2", "of a length, without its axis"))
def test_an_average_in_front_of_a_quantiser_is_a_depthwise_convolution(name, tmp_path):
    g, out, shape = AVERAGES[name]
    image = (*(1,) * (4 - len(shape)), *shape[2:], shape[1])
    result = compiled(g.write(tmp_path / "network.onnx", out, shape), tmp_path / "out", image)
    assert any(isinstance(layer, Vvau) for layer in result.golden.network.layers)
    assert result.stages[-1].name == "answers" and result.stages[-1].proof.tensors == 2


@pytest.mark.parametrize(
    "network",
    [
        averaged("AveragePool", (1, 3, 8, 8), kernel_shape=[2, 2], strides=[2, 2], quantised=False),
        averaged("AveragePool", (1, 3, 8, 8), kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4),
        averaged("GlobalAveragePool", (1, 3, 8, 8)),
    ],
    ids=["no quantiser", "padding that does not count", "a square map"],
)
def test_other_averages_stay(network, tmp_path):
    g, out, shape = network
    model = onnx.load(str(g.write(tmp_path / "network.onnx", out, shape)))
    value = onnx.helper.make_tensor_value_info
    for node in model.graph.node:
        if "Average" in node.op_type:
            model.graph.value_info.append(value(node.input[0], onnx.TensorProto.FLOAT, [1, 4, 6, 6]))
    assert sum_windows(model.graph) == []
