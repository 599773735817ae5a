"""Functions in front of a quantiser as thresholds that give exactly what the export gives."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from labd_host.dataflow.layers import Mvau
from labd_host.networks.exported import ExportedModel
from labd_host.rewrites.rising import make_thresholds
from labd_shared.errors import ArtifactError
from support.qonnx_graphs import QonnxGraph, compiled, quick

SLOPES = np.linspace(0.05, 0.5, 6)


def twice_less_one(g, x):
    return g.op("Sub", g.op("Mul", g.op("Sigmoid", x), g.const(2.0)), g.const(1.0))


def named(op, *constants, **attributes):
    return lambda g, x: g.op(op, x, *map(g.const, constants), **attributes)


# function -> how it is quantised: bits, scale, signed
FUNCTIONS = {
    "sigmoid": (named("Sigmoid"), (4, 0.07, 0)),
    "sigmoid of 8 bits": (named("Sigmoid"), (8, 1 / 255, 0)),
    "sigmoid from -1 to 1": (twice_less_one, (4, 0.13, 1)),
    "tanh": (named("Tanh"), (4, 0.14, 1)),
    "tanh of one bit": (named("Tanh"), (1, 0.5, 1)),
    "hard tanh": (named("Clip", -1.0, 1.0), (4, 0.14, 1)),
    "relu of 6": (named("Clip", 0.0, 6.0), (4, 0.41, 0)),
    "leaky relu": (named("LeakyRelu", alpha=0.1), (4, 0.3, 1)),
    "a slope for each channel": (named("PRelu", SLOPES), (4, 0.3, 1)),
    "elu": (named("Elu"), (4, 0.3, 1)),
    "selu": (named("Selu"), (4, 0.3, 1)),
    "hard sigmoid": (named("HardSigmoid"), (4, 0.07, 0)),
    "softplus": (named("Softplus"), (4, 0.3, 0)),
    "relu and a sign": (named("Relu"), (4, 0.3, 1)),
    "0 and 1": (lambda g, x: x, (1, 1.0, 0)),
    "-1/2 and 1/2": (lambda g, x: x, (1, 0.5, 1)),
}


def network(change, quantiser):
    g = QonnxGraph()
    bits, scale, signed = quantiser
    x = g.product(g.reshape(g.quant("x", 8, 1 / 255, signed=0), 1, 36), 36, 6, 4, 0.25)
    x = g.quant(change(g, g.norm(x, 6, 2.0, falling=True)), bits, scale, signed=signed)
    return g, g.head(x, 6, spread=2.0)


@pytest.mark.parametrize("name", quick(FUNCTIONS, "sigmoid", "a slope for each channel", "0 and 1"))
def test_a_function_and_its_quantiser_become_thresholds(name, tmp_path):
    g, out = network(*FUNCTIONS[name])
    result = compiled(g.write(tmp_path / "network.onnx", out, (1, 1, 6, 6)), tmp_path / "out", (6, 6, 1))
    first = result.golden.network.layers[1]
    assert isinstance(first, Mvau) and first.steps
    assert result.stages[-1].name == "answers" and result.stages[-1].proof.tensors == 2


def test_a_convolution_has_thresholds_for_each_channel(tmp_path):
    g = QonnxGraph()
    x = g.norm(g.conv(g.quant("x", 8, 1 / 255, signed=0), 3, 4, bits=4), 4, 2.0, falling=True)
    x = g.quant(g.op("PRelu", x, g.const(SLOPES[:4].reshape(4, 1, 1))), 4, 0.3)
    path = g.write(tmp_path / "network.onnx", g.head(x, 144, spread=3.0), (1, 3, 8, 8))
    result = compiled(path, tmp_path / "out", (8, 8, 3))
    assert result.stages[-1].proof.tensors == 2


def alone(folder, change, *, bits, scale, signed, size):
    """Only a function and its quantiser, of *size* values, as (path, graph with thresholds)."""
    g = QonnxGraph()
    out = g.quant(change(g, "x"), bits, scale, signed=signed)
    path = g.write(folder / "alone.onnx", out, (1, size, 1, 1), classes=size)
    model = onnx.load(str(path))
    return path, make_thresholds(model).graph


@pytest.mark.parametrize("name", ["sigmoid of 8 bits", "tanh", "leaky relu", "elu", "softplus"])
def test_thresholds_agree_with_the_export_at_every_neighbour_of_every_threshold(name, tmp_path):
    change, (bits, scale, signed) = FUNCTIONS[name]
    _, graph = alone(tmp_path, change, bits=bits, scale=scale, signed=signed, size=1)
    thresholds = next(entry for entry in graph.initializer if entry.name.startswith("thresholds"))
    values = onnx.numpy_helper.to_array(thresholds).reshape(-1)
    values = values[np.abs(values) < 1e29]
    beside = np.concatenate([values, np.nextafter(values, np.float32(-np.inf))])
    bias = next(
        onnx.helper.get_attribute_value(entry)
        for node in graph.node for entry in node.attribute if entry.name == "out_bias"
    )  # fmt: skip
    always = int((onnx.numpy_helper.to_array(thresholds) < -1e29).sum())
    counted = (beside[:, np.newaxis] >= values).sum(axis=1) + always + bias
    np.testing.assert_array_equal(
        counted, np.rint(exported(change, bits, scale, signed, beside, tmp_path) / scale)
    )


def exported(change, bits, scale, signed, values, folder):
    """What the export itself gives for float32 *values*, one at a time as the flow computes them."""
    g = QonnxGraph()
    out = g.quant(change(g, g.op("Div", "x", g.const(1.0))), bits, scale, signed=signed)
    path = g.write(folder / "itself.onnx", out, (1, 1, 1, 1), classes=1)
    model = ExportedModel(path)
    return model._session.run(None, {"x": values.reshape(-1, 1, 1, 1).astype(np.float32)})[0].reshape(-1)


def test_halves_are_rounded_as_the_export_rounds_them(tmp_path):
    # 0.125 is half a step of 0.25, which is 0; 0.375 is one and a half, which are 2
    _, graph = alone(tmp_path, named("Clip", -1.0, 1.0), bits=4, scale=0.25, signed=1, size=1)
    thresholds = next(entry for entry in graph.initializer if entry.name.startswith("thresholds"))
    values = np.sort(onnx.numpy_helper.to_array(thresholds).reshape(-1))
    of_1, of_2 = values[7:9]  # the lowest level is -7
    assert of_1 == np.nextafter(np.float32(0.125), np.float32(1)) and of_2 == np.float32(0.375)


def test_a_function_that_falls_is_refused_by_name(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"LeakyRelu_0 \(LeakyRelu\) and its quantiser cannot become thresholds"
    ):
        alone(tmp_path, named("LeakyRelu", alpha=-0.5), bits=4, scale=0.3, signed=1, size=1)


def test_relu_and_an_unsigned_quantiser_are_left_to_finn(tmp_path):
    _, graph = alone(tmp_path, named("Relu"), bits=4, scale=0.3, signed=0, size=1)
    assert [node.op_type for node in graph.node] == ["Relu", "Quant"]


def test_quantised_weights_are_left_alone():
    g = QonnxGraph()
    out = g.product("x", 6, 4, bits=1, scale=0.5)
    graph = helper.make_graph(
        g.nodes, "weights", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, 4])], g.constants,
    )  # fmt: skip
    model = helper.make_model(graph)
    assert [node.op_type for node in make_thresholds(model).graph.node] == ["BipolarQuant", "MatMul"]
