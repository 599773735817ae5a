"""A small convolutional network as Brevitas exports one, from seeded random numbers and without torch."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX_DOMAIN = "qonnx.custom_op.general"
SIDE = 12
COLOURS = 3


class QonnxGraph:
    """Collects nodes and constants."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes = []
        self.constants = []

    def constant(self, value):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator, inputs, domain="", **attributes):
        name = f"value{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, inputs, [name], f"node_{name}", domain=domain, **attributes)
        )
        return name

    def quantised(self, value, bits, scale, *, signed):
        """What Brevitas exports for a quantiser: 1 bit is a sign, else steps of *scale*."""
        step = self.constant(np.float32(scale))
        if bits == 1:
            return self.add("BipolarQuant", [value, step], QONNX_DOMAIN)
        rest = [step, self.constant(np.float32(0)), self.constant(np.float32(bits))]
        return self.add(
            "Quant",
            [value, *rest],
            QONNX_DOMAIN,
            signed=signed,
            narrow=int(signed and bits < 8),
            rounding_mode="ROUND",
        )

    def weights(self, shape, bits):
        drawn = self.rng.uniform(-1, 1, shape).astype(np.float32)
        return self.quantised(self.constant(drawn), bits, 1.0 if bits == 1 else 0.5, signed=1)

    def pixels(self):
        """What goes in, centred, in 8 bits."""
        centred = self.add(
            "Sub", [self.add("Mul", ["x", self.constant(np.float32(2))]), self.constant(np.float32([1]))]
        )
        return self.quantised(centred, 8, 1 / 128, signed=1)

    def convolution(self, value, weights, kernel, **attributes):
        """A convolution of square windows; *attributes*: pads and strides (one number each), group."""
        pads, strides = attributes.pop("pads", 0), attributes.pop("strides", 1)
        return self.add(
            "Conv",
            [value, weights],
            kernel_shape=[kernel, kernel],
            pads=[pads] * 4,
            strides=[strides] * 2,
            **{"dilations": [1, 1], "group": 1, **attributes},
        )

    def average(self, value, written, side):
        """The mean of each channel over a map of *side* x *side*.

        *written*: The operation; "ReduceMean flat" leaves out the axes of which it is the mean.
        """
        if written == "GlobalAveragePool":
            return self.add(written, [value])
        if written == "AveragePool":
            return self.add(written, [value], kernel_shape=[side, side], strides=[1, 1])
        axes = self.constant(np.array([-1, 2], np.int64))
        return self.add("ReduceMean", [value, axes], keepdims=int(written != "ReduceMean flat"))

    def activation(self, value, channels, bits, spread, *, relu):
        """Batch normalisation with scales of both signs where no ReLU follows, and a quantiser."""
        rng = self.rng
        relu = relu and bits > 1
        scale = rng.uniform(0.5, 1.5, channels) * (1 if relu else rng.choice([-1, 1], channels))
        vectors = (
            scale,
            rng.uniform(-0.5, 0.5, channels),
            rng.uniform(-0.2, 0.2, channels) * spread,
            rng.uniform(0.5, 1, channels) * spread**2,
        )
        names = [self.constant(vector.astype(np.float32)) for vector in vectors]
        normal = self.add("BatchNormalization", [value, *names], epsilon=1e-4)
        if not relu:
            return self.quantised(normal, bits, 1.0 if bits == 1 else 0.5, signed=1)
        return self.quantised(self.add("Relu", [normal]), bits, 0.5, signed=0)

    def save(self, path, scores, classes):
        """The network from "x" to *scores*, in *path*."""
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, COLOURS, SIDE, SIDE])],
            [helper.make_tensor_value_info(scores, TensorProto.FLOAT, [1, classes])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(QONNX_DOMAIN, 2)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
        return path


def write_network(
    path, *, weight_bits=1, act_bits=1, relu=True, pads=0, stride=1, kernel=3, classes=7, seed=1,
    average="", average_bits=0, scores_averaged=False,
):  # fmt: skip
    """Two convolutions, a max-pool, a convolution, two fully connected layers; pixels / 255 go in.

    Activations of more than a bit follow a ReLU and are unsigned, or have a sign as in Brevitas' CNV.

    Args:
        average: How the map's average in front of the first fully connected layer is written (see
            `QonnxGraph.average`); "" for none.
        average_bits: Of the quantiser behind it; 0 for none.
        scores_averaged: The averages are the scores, and nothing fully connected follows.
    """
    g = QonnxGraph(seed)
    value = g.pixels()
    side, channels = SIDE, COLOURS
    for width, pool, step in ((8, False, 1), (6, True, stride), (10, False, 1)):
        size = kernel if side >= kernel else 1
        fan_in = channels * size * size
        weights = g.weights((width, channels, size, size), weight_bits)
        value = g.convolution(value, weights, size, pads=pads, strides=step)
        side = (side + 2 * pads - size) // step + 1
        value = g.activation(value, width, act_bits, np.sqrt(fan_in) / 2, relu=relu)
        if pool:
            value = g.add("MaxPool", [value], kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
            side //= 2
        channels = width
    if average:
        value = g.average(value, average, side)
        side = 1
        if average_bits:
            value = g.quantised(value, average_bits, 0.1093, signed=int(not relu or act_bits == 1))
    features = side * side * channels
    if average != "ReduceMean flat":
        value = g.add("Reshape", [value, g.constant(np.array([1, features], np.int64))])
    if scores_averaged:
        classes = features
    else:
        weights = g.weights((9, features), weight_bits)
        value = g.add("Gemm", [value, weights], transB=1)
        value = g.activation(value, 9, act_bits, np.sqrt(features) / 2, relu=relu)
        value = g.add("Gemm", [value, g.weights((classes, 9), weight_bits)], transB=1)
    value = g.add("Div", [value, g.constant(np.float32(1.7))])
    value = g.add("Add", [value, g.constant(np.float32(0.3))])
    return g.save(path, value, classes)


def images(count, seed=5):
    """Pictures of any brightness: uint8 (count, SIDE, SIDE, COLOURS)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, SIDE, SIDE, COLOURS)).astype(np.uint8)
