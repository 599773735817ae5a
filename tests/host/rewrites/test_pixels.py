"""First layers without a quantiser: whole pixels enter, offsets go behind, what has no integers is refused."""

import numpy as np
import onnx
import pytest

from labd_host.dataflow.layers import MaxPool, Mvau, Padding, SlidingWindow, Thresholding
from labd_host.networks.exported import ExportedModel
from labd_host.rewrites.pixels import take_whole_pixels, takes_raw_pixels
from labd_shared.errors import ArtifactError
from support.listeners import Kept
from support.qonnx_graphs import QonnxGraph, compiled, quick, random_images

MEANS = np.reshape([0.4914, 0.4822, 0.4465], (1, 3, 1, 1))


def flat(change, *, side=6):
    """Pixels, *change*, a hidden layer and scores."""
    g = QonnxGraph()
    return g, g.head(change(g, "x"), side * side, spread=6.0), (1, 1, side, side)


def convolved(change, **conv):
    """Pixels, *change*, a convolution, a hidden layer and scores."""
    g = QonnxGraph()
    x = g.act(g.conv(change(g, "x"), 3, 4, **conv), 4, 2.0)
    side = 8 if conv.get("pads") else 6
    return g, g.head(x, 4 * side * side, spread=6.0), (1, 3, 8, 8)


def normal(g, x, means=MEANS, deviation=0.25):
    return g.op("Div", g.op("Sub", x, g.const(means)), g.const(deviation))


def twice_less_one(g, x):
    return g.op("Sub", g.op("Mul", x, g.const(2)), g.const([1.0]))


def less_128(g, x):
    return g.op("Sub", x, g.const(128 / 255))


def pooled(g, x):
    return g.op("Sub", g.pool(x, (1, 1)), g.const(0.5))


def graph_of(network, folder):
    g, out, shape = network
    return onnx.load(str(g.write(folder / "network.onnx", out, shape))).graph


NETWORKS = {
    "pixels as they are": (flat(lambda g, x: x), [Mvau]),
    "one channel's mean and deviation": (flat(lambda g, x: normal(g, x, 0.1307, 0.3081)), [Mvau]),
    "from -1 to 1": (flat(twice_less_one), [Mvau]),
    "white is 0": (flat(lambda g, x: g.op("Sub", g.const(1.0), x)), [Mvau]),
    "a mean for each channel": (convolved(normal), [SlidingWindow, Mvau]),
    "zero padding of plain pixels": (convolved(lambda g, x: x, pads=[1] * 4), [Padding, SlidingWindow]),
    "zero padding around pixel 128": (convolved(less_128, pads=[1] * 4), [Thresholding, Padding]),
    "zero padding around pixel 127.5": (convolved(twice_less_one, pads=[1] * 4), [Thresholding, Padding]),
    "a pool first": (convolved(pooled), [SlidingWindow, MaxPool]),
    "a scale for each output": (
        convolved(normal, bits=8, scale=np.linspace(0.007, 0.009, 4).reshape(4, 1, 1, 1)), [SlidingWindow, Mvau],
    ),
    "a division by 255 inside": (flat(lambda g, x: g.op("Div", x, g.const(255.0))), [Mvau]),
    "means from 0 to 255": (convolved(lambda g, x: normal(g, x, MEANS * 255, 58.0)), [SlidingWindow]),
    "a quantiser of steps of 1": (flat(lambda g, x: g.quant(x, 8, 1.0, signed=0)), [Thresholding, Mvau]),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    quick(
        NETWORKS,
        "one channel's mean and deviation",
        "a mean for each channel",
        "zero padding around pixel 127.5",
        "a division by 255 inside",
    ),
)
def test_a_first_layer_without_a_quantiser_takes_whole_pixels(name, tmp_path):
    (g, out, shape), first = NETWORKS[name]
    path, image = g.write(tmp_path / "network.onnx", out, shape), (*shape[2:], shape[1])
    result = compiled(path, tmp_path / "out", image)
    assert [type(layer) for layer in result.golden.network.layers[: len(first)]] == first
    assert result.inputs[0].datatype.name == "UINT8"
    assert result.stages[-1].name == "answers" and result.stages[-1].proof.tensors == 2
    many = random_images(200, image, seed=9)
    scores = ExportedModel(path).run(many)
    np.testing.assert_array_equal(result.golden.run(many).outputs[0][:, 0], scores.argmax(axis=1))


def test_padding_makes_the_difference_to_its_pixel_an_integer(tmp_path):
    found = {}
    for change in (less_128, twice_less_one):
        graph = graph_of(convolved(change, pads=[1] * 4), tmp_path)
        take_whole_pixels(graph)
        node = next(node for node in graph.node if node.op_type == "MultiThreshold")
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        found[change.__name__] = attributes["out_dtype"], attributes["out_bias"]
    assert found == {"less_128": (b"INT8", -128.0), "twice_less_one": (b"INT9", -255.0)}


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (
            convolved(lambda g, x: g.op("Div", x, g.const(np.reshape([0.229, 0.224, 0.225], (1, 3, 1, 1))))),
            r"^what enters Conv_2 is not quantised: its pixels have scales from 0\.0171248 to 0\.017507",
        ),
        (
            convolved(normal, pads=[1] * 4),
            r"^what enters Conv_3 is not quantised: its zero padding puts the pixel 113\.858 and 122\.961 and 125\.307",
        ),
        (
            convolved(lambda g, x: g.op("Sub", x, g.const(g.rng.uniform(0, 1, (1, 3, 8, 8))))),
            r"^what enters Conv_2 is not quantised: its pixels have an offset for each place",
        ),
    ],
    ids=["scales", "padding", "image"],
)  # fmt: skip
def test_pixels_without_integers_are_refused(network, says, tmp_path):
    with pytest.raises(ArtifactError, match=says) as raised:
        take_whole_pixels(graph_of(network, tmp_path))
    assert "QuantIdentity" in raised.value.fix


@pytest.mark.parametrize(
    ("change", "raw"),
    [
        (lambda g, x: g.op("Div", x, g.const(255.0)), True),
        (lambda g, x: g.op("Mul", x, g.const(1 / 255)), True),
        (lambda g, x: g.op("Mul", g.op("Flatten", x), g.const(1 / 256)), True),
        (lambda g, x: g.op("Sub", x, g.const(127.5)), True),
        (lambda g, x: g.quant(x, 8, 1.0, signed=0), True),
        (lambda g, x: g.op("Div", x, g.const(0.3081)), False),
        (lambda g, x: g.op("Sub", x, g.const(0.1307)), False),
        (lambda g, x: g.op("Mul", x, g.const(2.0)), False),
        (lambda g, x: g.quant(x, 8, 1 / 255, signed=0), False),
        (lambda g, x: g.quant(x, 2, 0.5, signed=0), False),
    ],
)
def test_the_first_constant_tells_whether_pixels_go_to_255(change, raw, tmp_path):
    assert takes_raw_pixels(graph_of(flat(change), tmp_path)) is raw


def test_a_quantiser_of_its_own_is_left_alone(tmp_path):
    graph = graph_of(flat(lambda g, x: g.quant(twice_less_one(g, x), 8, 1 / 128, narrow=0)), tmp_path)
    before = graph.SerializeToString()
    assert take_whole_pixels(graph) == []
    assert graph.SerializeToString() == before


def test_the_compilation_tells_what_became_of_the_export(tmp_path):
    told = Kept()
    g, out, shape = flat(twice_less_one)
    path = g.write(tmp_path / "network.onnx", out, shape)
    compiled(path, tmp_path / "out", (6, 6, 1), listener=told)
    found = [line for line in told.said if line.startswith("exported: ") and "MatMul" in line]
    assert ["takes whole pixels" in line for line in found] == [True, False]
