"""Small quantised networks in QONNX, built node by node, and images for them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
SIDE = 6


class Net:
    """A graph that grows by one node a call; every call returns the name of the tensor it made.

    Attributes:
        random: Draws the weights.
        tensor: The tensor that was made last; the image in the beginning.
    """

    def __init__(self, seed=3):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.tensor = [], [], "x"

    def const(self, value, dtype=np.float32):
        """A constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind, *inputs, domain="", **attributes):
        """One node."""
        name = f"v{len(self.nodes)}"
        made = helper.make_node(kind, list(inputs), [name], f"{kind}_{len(self.nodes)}", domain=domain)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(made)
        self.tensor = name
        return name

    def quant(self, x, bits, scale, *, signed=1, narrow=0):
        """A quantiser: of one bit the bipolar one."""
        if bits == 1:
            return self.op("BipolarQuant", x, self.const(scale), domain=QONNX)
        parts = self.const(scale), self.const(0.0), self.const(bits)
        return self.op("Quant", x, *parts, domain=QONNX, signed=signed, narrow=narrow, rounding_mode="ROUND")

    def weights(self, shape, bits=2, scale=0.5):
        """Random quantised weights."""
        return self.quant(self.const(self.random.uniform(-1, 1, shape)), bits, scale, narrow=int(bits < 8))

    def pixels(self, bits=8, scale=1 / 255):
        """The image, quantised."""
        return self.quant("x", bits, scale, signed=0)

    def flat(self, values):
        """The tensor made last as a vector."""
        return self.op("Reshape", self.tensor, self.const([1, values], np.int64))

    def matmul(self, inputs, outputs, **weights):
        """A product without a bias."""
        return self.op("MatMul", self.tensor, self.weights((inputs, outputs), **weights))

    def gemm(self, inputs, outputs, bias, **weights):
        """A product with one."""
        x = self.tensor
        return self.op("Gemm", x, self.weights((outputs, inputs), **weights), bias, transB=1)

    def relu(self, bits=2, scale=0.5):
        """Relu and an unsigned quantiser."""
        return self.quant(self.op("Relu", self.tensor), bits, scale, signed=0)

    def save(self, path, *, shape=(1, 1, SIDE, SIDE), out=(1, 4)):
        """Write the network."""
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(self.tensor, TensorProto.FLOAT, list(out))],
            self.constants,
        )
        imports = [helper.make_opsetid("", 18), helper.make_opsetid(QONNX, 2)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
        return path


def hidden(net, *, bias=None, hidden=8, act=(2, 0.5), inputs=SIDE * SIDE, **weights):
    """Pixels, a layer of *hidden* neurons with *bias*, and its quantiser."""
    net.pixels()
    net.flat(inputs)
    if bias is None:
        net.matmul(inputs, hidden, **weights)
    else:
        net.gemm(inputs, hidden, bias, **weights)
    net.relu(*act)
    return net


def images(count, *, seed=5, shape=(SIDE, SIDE, 1)):
    """Images of noise, uint8 (count, ...)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
