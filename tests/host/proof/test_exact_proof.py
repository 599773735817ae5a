"""Networks whose sums are not integers in float32 are proven all the same: the sums are added up again."""

from dataclasses import replace

import numpy as np
import pytest

from labd_host.dataflow.folding import Folding
from labd_host.flow import compile_network
from labd_host.flow.finn_door import Finn
from labd_host.flow.stages import EXPORTED
from labd_host.proof.exact_sums import exact_sums
from labd_shared.errors import StageMismatch
from support.small_networks import Net, hidden, images

UNFOLDED = Folding("none", {}, {})


def compiled_in(folder, net, *, frames=None, **saved):
    path = net.save(folder / "small.onnx", **saved)
    frames = images(300) if frames is None else frames
    return compile_network(path, folding=UNFOLDED, out=folder / "out", images=frames[:4], many_images=frames)


def test_a_float_bias_in_front_of_a_quantiser_goes_into_its_thresholds(tmp_path):
    net = Net()
    hidden(net, bias=net.const(np.linspace(-3, 3, 8)))
    net.matmul(8, 4)
    compiled = compiled_in(tmp_path, net)
    assert [stage.proof.tensors for stage in compiled.stages] == [0, *[5] * 7, 2]


def test_a_quantised_bias_is_not_part_of_the_sum(tmp_path):
    net = Net()
    hidden(net, bias=net.quant(net.const(np.linspace(-3, 3, 8)), 16, 1 / 510))
    net.matmul(8, 4)
    assert compiled_in(tmp_path, net).stages[-1].name == "answers"


def test_a_bias_of_a_convolution_goes_into_the_thresholds(tmp_path):
    net = Net()
    net.pixels()
    parts = net.tensor, net.weights((2, 1, 3, 3)), net.const([0.3, -0.4])
    net.op("Conv", *parts, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], dilations=[1, 1], group=1)
    net.relu()
    net.flat(2 * 3 * 3)
    net.matmul(18, 4)
    assert compiled_in(tmp_path, net, frames=images(100)).stages[-1].name == "answers"


def test_a_wide_layer_of_8_bits_whose_sums_pass_24_bits_is_proven(tmp_path):
    net = Net()
    net.pixels()
    net.flat(1024)
    net.matmul(1024, 4, bits=8, scale=1 / 127)
    net.relu(4, 8.0)
    net.matmul(4, 4, bits=8, scale=0.3 / 127)
    frames = images(20, shape=(32, 32, 1))
    frames[0] = 255
    assert compiled_in(tmp_path, net, frames=frames, shape=(1, 1, 32, 32)).stages[-1].name == "answers"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A convolution with all it can have, and a product behind it, as FINN executes them."""
    net = Net()
    net.pixels()
    parts = net.tensor, net.weights((4, 1, 3, 2), scale=[[[[0.3]]], [[[0.2]]], [[[0.7]]], [[[0.1]]]])
    net.op("Conv", *parts, kernel_shape=[3, 2], strides=[1, 2], pads=[1, 0, 2, 1], dilations=[1, 2])
    net.relu(3, 0.3)
    parts = net.tensor, net.weights((6, 2, 2, 2), bits=4, scale=0.1), net.const(np.linspace(-1, 1, 6))
    net.op("Conv", *parts, kernel_shape=[2, 2], auto_pad="SAME_UPPER", group=2)
    path = net.save(tmp_path_factory.mktemp("ran") / "net.onnx", out=(1, 6, 7, 3))
    with Finn() as finn:
        model = finn.apply(finn.load(path), EXPORTED.steps[0])
        graph = finn.graph(model)
        frames = images(3).transpose(0, 3, 1, 2) / np.float32(255)
        return graph, finn.run(model, frames)


def test_sums_of_convolutions_lose_scales_and_bias(ran):
    graph, trace = ran
    first, second = (node for node in graph.nodes if node.op == "Conv")
    scale = np.array([0.3, 0.2, 0.7, 0.1]).reshape(-1, 1, 1) / 255
    expected = trace.values[first.outputs[0]] / scale
    np.testing.assert_allclose(exact_sums(graph, trace, first), expected, atol=0.01)
    expected = (trace.values[second.outputs[0]] - np.linspace(-1, 1, 6).reshape(-1, 1, 1)) / 0.03
    np.testing.assert_allclose(exact_sums(graph, trace, second), expected, atol=0.01)


def test_a_value_that_the_operands_do_not_give_is_caught_with_its_image(ran):
    graph, trace = ran
    node = next(node for node in graph.nodes if node.op == "Conv")
    values = dict(trace.values)
    values[node.outputs[0]] = values[node.outputs[0]].copy()
    values[node.outputs[0]][2, 1, 0, 0] += 0.2 / 255
    with pytest.raises(StageMismatch, match=r"the sums of Conv_.* where its operands give .* \(image 2\)"):
        exact_sums(graph, replace(trace, values=values), node)
