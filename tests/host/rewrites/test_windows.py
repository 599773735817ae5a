"""Windows larger than what they have to go, and maps of one row or column."""

import onnx
import pytest

from labd_host.dataflow.layers import Mvau, Padding
from labd_host.rewrites.windows import fit_windows
from labd_shared.errors import ArtifactError
from support.qonnx_graphs import QonnxGraph, compiled


def small(body, shape):
    """Quantised pixels, *body*(g, x), a hidden layer and scores; *body* gives (x, values)."""
    g = QonnxGraph()
    x, values = body(g, g.quant("x", 8, 1 / 255, signed=0))
    return g, g.head(x, values, spread=2.0), shape


def convolved(*, rows=1, columns=8, **conv):
    """A convolution of a map of 2 channels; its result has the shape (4, 1, 8), (4, 8, 1) or (4, 1, 1)."""
    values = 4 * (1 if "strides" in conv else rows * columns)
    return small(lambda g, x: (g.act(g.conv(x, 2, 4, **conv), 4, 2.0), values), (1, 2, rows, columns))


@pytest.mark.parametrize(
    ("network", "padded"),
    [
        (convolved(kernel=(3, 3), pads=[1] * 4), True),
        (convolved(kernel=(3, 3), pads=[1] * 4, rows=8, columns=1), True),
        (convolved(kernel=(2, 2), pads=[1, 0, 0, 0], strides=[3, 9]), False),
    ],
    ids=["a row", "a column", "a stride beyond the map"],
)
def test_a_map_of_one_row_meets_one_row_of_the_kernel(network, padded, tmp_path):
    g, out, shape = network
    result = compiled(
        g.write(tmp_path / "network.onnx", out, shape), tmp_path / "out", (*shape[2:], shape[1])
    )
    assert result.stages[-1].proof.tensors == 2
    assert any(isinstance(layer, Padding) for layer in result.golden.network.layers) is padded


def test_a_pool_of_a_map_of_one_row_is_cut_too(tmp_path):
    def pooled(g, x):
        x = g.act(g.conv(x, 2, 4, (1, 3)), 4, 2.0)
        return g.pool(x, (3, 2), strides=[2, 2], pads=[1, 0, 1, 0]), 12

    g, out, shape = small(pooled, (1, 2, 1, 8))
    result = compiled(g.write(tmp_path / "network.onnx", out, shape), tmp_path / "out", (1, 8, 2))
    assert result.stages[-1].proof.tensors == 2


def inferred(network, folder):
    """The graph of *network*, the shapes around its one convolution written into it."""
    g, out, shape = network
    graph = onnx.load(str(g.write(folder / "network.onnx", out, shape))).graph
    for node in graph.node:
        if node.op_type == "Conv":
            entry = onnx.helper.make_tensor_value_info
            rows = shape[2] + 2
            graph.value_info.append(entry(node.output[0], onnx.TensorProto.FLOAT, [1, 4, rows, 6]))
    return graph


def test_zeros_that_make_more_rows_of_one_are_refused(tmp_path):
    network = convolved(kernel=(1, 3), pads=[1, 0, 1, 0])
    with pytest.raises(ArtifactError, match=r"Conv_\d \(Conv\) pads a map of one row to 3 rows"):
        fit_windows(inferred(network, tmp_path))


def test_a_negative_scale_behind_the_lowest_weight_of_a_type_gives_weights_a_bit_more(tmp_path):
    g = QonnxGraph()
    weights = g.rng.uniform(-128, 127, (4, 2, 2, 2)).round()
    weights[:, 0, 0, 0] = -128
    w = g.quant(g.const(weights), 8, 1.0, narrow=0)
    x = g.op(
        "Conv",
        g.quant("x", 8, 1 / 255, signed=0),
        w,
        kernel_shape=[2, 2],
        pads=[0] * 4,
        strides=[1, 1],
        group=1,
    )
    x = g.quant(g.norm(x, 4, 200.0, falling=True), 4, 0.3)
    path = g.write(tmp_path / "network.onnx", g.head(x, 36, spread=3.0), (1, 2, 4, 4))
    result = compiled(path, tmp_path / "out", (4, 4, 2))
    assert [layer.weight for layer in result.golden.network.layers if isinstance(layer, Mvau)][0] == "INT9"
    assert result.stages[-1].proof.tensors == 2
