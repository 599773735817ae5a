"""Networks over one axis, maps that are not square, and kernels of one row or column."""

import numpy as np
import onnx
import pytest

from labd_host.dataflow.layers import MaxPool
from labd_host.networks.exported import ExportedModel
from labd_host.rewrites.four_axes import give_four_axes
from labd_host.rewrites.scales import join_scales
from labd_shared.errors import ArtifactError
from support.qonnx_graphs import QonnxGraph, compiled, quick, random_images


def pixels(g, x="x"):
    return g.quant(x, 8, 1 / 255, signed=0)


def deep(g, x):
    x = g.act(g.conv(x, 2, 4, (3,), pads=[1, 1], strides=[2]), 4, 2.0)
    x = g.pool(x, (2,))
    scales = np.linspace(0.2, 0.3, 5).reshape(5, 1, 1)
    x = g.act(g.conv(x, 4, 5, (2,), scale=scales), 5, 2.0)
    x = g.act(g.product(g.op("Flatten", x), 20, 12), 12, 5.0, scale=0.5)
    return g.product(x, 12, 10, scale=0.25)


def normalised(g, x):
    x = g.op("Div", g.op("Sub", x, g.const([[[0.4], [0.5]]])), g.const(0.25))
    x = g.pool(g.norm(g.conv(x, 2, 4, (3,)), 4, 2.0), (2,))
    return g.head(g.quant(g.op("Relu", x), 3, 0.37, signed=0), 36, spread=3.0)


def curved(g, x):
    x = g.op("PRelu", g.conv(x, 2, 4, (3,)), g.const(np.linspace(0.1, 0.4, 4).reshape(4, 1)))
    return g.head(g.quant(x, 4, 0.37), 72, spread=3.0)


def unsqueezed(g, x):
    x = g.op("Unsqueeze", x, g.const([1], np.int64))
    return g.head(g.act(g.conv(x, 1, 4, (3,)), 4, 2.0), 72, spread=3.0)


def viewed(g, x):
    return g.head(g.act(g.conv(g.reshape(x, 1, 1, 5, 8), 1, 4), 4, 2.0), 72, spread=3.0)


def squeezed(g, x):
    x = g.op("Squeeze", g.act(g.conv(x, 2, 4, (20,)), 4, 2.0, scale=0.5), g.const([2], np.int64))
    return g.product(x, 4, 10, scale=0.25)


# shape of the export -> shape of its images
ONE_AXIS = {
    "strides, padding and a pool": (deep, (1, 2, 20), (1, 20, 2)),
    "pixels without a quantiser, the pool in front of it": (normalised, (1, 2, 20), (1, 20, 2)),
    "a constant for each channel": (curved, (1, 2, 20), (1, 20, 2)),
    "a vector that gets its channel": (unsqueezed, (1, 20), (1, 20, 1)),
    "a vector that becomes an image": (viewed, (1, 40), (5, 8, 1)),
    "an axis that is taken away": (squeezed, (1, 2, 20), (1, 20, 2)),
}


@pytest.mark.parametrize(
    "name", quick(ONE_AXIS, "strides, padding and a pool", "a vector that gets its channel")
)
def test_networks_over_one_axis_work_on_images_of_height_1(name, tmp_path):
    body, shape, image = ONE_AXIS[name]
    g = QonnxGraph()
    out = body(g, "x" if body is normalised else pixels(g))
    path = g.write(tmp_path / "network.onnx", out, shape)
    result = compiled(path, tmp_path / "out", image)
    assert result.inputs[0].normal == (1, *image)
    assert result.stages[-1].name == "answers" and result.stages[-1].proof.tensors == 2
    many = random_images(100, image, seed=9)
    found = result.golden.run(many).outputs[0][:, 0]
    np.testing.assert_array_equal(found, ExportedModel(path).run(many).argmax(axis=1))


def test_what_has_no_convolution_over_one_axis_stays(tmp_path):
    g = QonnxGraph()
    graph = onnx.load(str(g.write(tmp_path / "n.onnx", g.head(pixels(g), 20), (1, 2, 10)))).graph
    before = graph.SerializeToString()
    assert give_four_axes(graph) == []
    assert graph.SerializeToString() == before


# kernel, padding, strides of a convolution of maps of 8 x 12, or of what is given
WINDOWS = {
    "a row": {"kernel": (1, 3)},
    "a column": {"kernel": (3, 1)},
    "a row, padded": {"kernel": (1, 3), "pads": [0, 1, 0, 1]},
    "a stride along the row": {"kernel": (3, 3), "strides": [1, 2]},
    "a stride along the column": {"kernel": (3, 5), "strides": [2, 1], "pads": [1, 2, 1, 2]},
    "one row of pixels": {"kernel": (1, 3), "strides": [1, 2], "map": (1, 20)},
    "one column of pixels": {"kernel": (3, 1), "map": (20, 1)},
    "padding of one side": {"kernel": (2, 3), "pads": [1, 0, 0, 2]},
}


@pytest.mark.parametrize("name", quick(WINDOWS, "a row, padded", "a stride along the column"))
def test_windows_and_maps_need_not_be_square(name, tmp_path):
    windows = dict(WINDOWS[name])
    height, width = windows.pop("map", (8, 12))
    g = QonnxGraph()
    x = g.act(g.conv(pixels(g), 2, 4, **windows), 4, 2.0)
    pads, strides = windows.get("pads", [0] * 4), windows.get("strides", [1, 1])
    rows = (height + pads[0] + pads[2] - windows["kernel"][0]) // strides[0] + 1
    columns = (width + pads[1] + pads[3] - windows["kernel"][1]) // strides[1] + 1
    if columns % 2 == 0:
        x, columns = g.pool(x, (1, 2)), columns // 2
    path = g.write(tmp_path / "n.onnx", g.head(x, 4 * rows * columns, spread=4.0), (1, 2, height, width))
    result = compiled(path, tmp_path / "out", (height, width, 2))
    assert result.stages[-1].proof.tensors == 2
    assert any(isinstance(layer, MaxPool) for layer in result.golden.network.layers) == (
        "MaxPool" in str(g.nodes)
    )


def weights_of_8_bits(g, x):
    x = g.reshape(x, 1, 36)
    x = g.act(g.product(x, 36, 12, 8, 1 / 127.3), 12, 1.0, bits=8, scale=0.0117)
    x = g.quant(g.norm(g.product(x, 12, 12, 8, 1 / 127.3), 12, 1.0), 8, 1 / 64, narrow=0)
    return g.product(x, 12, 10, 8, 1 / 128)


def mixed_widths(g, x):
    scales = np.linspace(0.007, 0.009, 12)
    x = g.act(g.product(g.reshape(x, 1, 36), 36, 12, 8, scales), 12, 1.0, bits=5, scale=0.11)
    x = g.quant(g.norm(g.product(x, 12, 12, 2, np.linspace(0.4, 0.5, 12)), 12, 1.0), 6, 1 / 16)
    return g.product(x, 12, 10, 4, 1 / 8)


@pytest.mark.parametrize("body", [weights_of_8_bits, mixed_widths])
def test_8_bits_and_scales_for_each_channel_in_any_layer(body, tmp_path):
    g = QonnxGraph()
    path = g.write(tmp_path / "network.onnx", body(g, pixels(g)), (1, 1, 6, 6))
    assert compiled(path, tmp_path / "out", (6, 6, 1)).stages[-1].proof.tensors == 2


def scaled(scales):
    g = QonnxGraph()
    x = g.quant(g.norm(g.product(g.reshape(pixels(g), 1, 36), 36, 4), 4, 3.0), 4, scales)
    return g, g.product(x, 4, 10)


def test_equal_scales_of_activations_become_one_and_others_are_refused(tmp_path):
    g, out = scaled(np.full(4, 0.3))
    graph = onnx.load(str(g.write(tmp_path / "equal.onnx", out, (1, 1, 6, 6)))).graph
    assert len(join_scales(graph)) == 1
    g, out = scaled(np.linspace(0.3, 0.5, 4))
    graph = onnx.load(str(g.write(tmp_path / "others.onnx", out, (1, 1, 6, 6)))).graph
    with pytest.raises(
        ArtifactError, match=r"Quant_\d+ \(Quant\) has 4 scales, from 0\.3 to 0\.5, and MatMul"
    ):
        join_scales(graph)
