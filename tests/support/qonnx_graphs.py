"""Small QONNX networks, written node by node from seeded random numbers, without torch."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labd_host.dataflow.folding import Folding
from labd_host.flow import compile_network
from labd_host.machine.listener import SILENT

QONNX_DOMAIN = "qonnx.custom_op.general"


class QonnxGraph:
    """A graph that grows by one node a call; every call returns the name of the tensor it made."""

    def __init__(self, seed=3):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def const(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind, *inputs, domain="", **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                kind, list(inputs), [name], f"{kind}_{len(self.nodes)}", domain=domain, **attributes
            )
        )
        return name

    def quant(self, x, bits, scale, *, signed=1, narrow=None):
        if bits == 1 and signed:
            return self.op("BipolarQuant", x, self.const(scale), domain=QONNX_DOMAIN)
        narrow = int(signed and bits < 8) if narrow is None else narrow
        parts = self.const(scale), self.const(0), self.const(bits)
        return self.op(
            "Quant", x, *parts, domain=QONNX_DOMAIN, signed=signed, narrow=narrow, rounding_mode="ROUND"
        )

    def weight(self, shape, bits=3, scale=0.27):
        return self.quant(self.const(self.rng.uniform(-1, 1, shape)), bits, scale)

    def conv(self, x, channels_in, channels_out, kernel=(3, 3), bits=3, pads=None, strides=None, scale=0.27):
        weights = self.weight((channels_out, channels_in, *kernel), bits, scale)
        axes = len(kernel)
        return self.op(
            "Conv", x, weights, kernel_shape=list(kernel), pads=pads or [0] * 2 * axes,
            strides=strides or [1] * axes, group=1,
        )  # fmt: skip

    def pool(self, x, kernel=(2, 2), **attributes):
        attributes = {"strides": list(kernel), "pads": [0] * 2 * len(kernel), **attributes}
        return self.op("MaxPool", x, kernel_shape=list(kernel), **attributes)

    def product(self, x, values_in, values_out, bits=3, scale=0.27):
        return self.op("MatMul", x, self.weight((values_in, values_out), bits, scale))

    def norm(self, x, channels, spread, *, falling=False):
        """Batch normalisation; *falling*: half of the channels have a negative scale."""
        rng = self.rng
        gain = rng.uniform(0.5, 1.5, channels) * (np.resize([-1, 1], channels) if falling else 1)
        rest = rng.uniform(-0.5, 0.5, channels), rng.uniform(-0.2, 0.2, channels) * spread
        parts = (gain, *rest, rng.uniform(0.5, 1, channels) * spread**2)
        return self.op("BatchNormalization", x, *map(self.const, parts), epsilon=1e-4)

    def act(self, x, channels, spread, bits=3, scale=0.37):
        """Batch normalisation, Relu and a quantiser."""
        return self.quant(self.op("Relu", self.norm(x, channels, spread)), bits, scale, signed=0)

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.const(shape, np.int64))

    def head(self, x, values, classes=10, *, spread=1.0):
        """*values* of a feature map through one hidden layer to the scores."""
        x = self.act(self.product(self.reshape(x, 1, values), values, 12), 12, spread, scale=0.5)
        return self.product(x, 12, classes, scale=0.25)

    def write(self, path, out, shape, classes=10):
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, classes])],
            self.constants,
        )
        imports = [helper.make_opsetid("", 18), helper.make_opsetid(QONNX_DOMAIN, 2)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), str(path))
        return path


def random_images(count, shape, seed=5):
    """uint8 (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def compiled(path, out, image, *, few=3, many=200, listener=SILENT):
    """Compile *path* on random images of shape *image*: every stage on *few*, the answers on *many*."""
    return compile_network(
        path,
        folding=Folding("none", {}, {}),
        out=out,
        images=random_images(few, image),
        many_images=random_images(many, image, seed=6),
        listener=listener,
    )


def quick(names, *these):
    """Parameters of a test: *these* of the *names* at once, the others among the slow tests."""
    return [name if name in these else pytest.param(name, marks=pytest.mark.slow) for name in names]
