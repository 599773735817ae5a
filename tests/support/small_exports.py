"""A fully connected network as QONNX exports it, a quirk an argument, from seeded random numbers and without torch."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX_DOMAIN = "qonnx.custom_op.general"
SIDE, HIDDEN, CLASSES = 6, 8, 5


class GraphWriter:
    """A graph that grows by one node a call; every call returns the name of the tensor it made."""

    def __init__(self, seed=3, domain=QONNX_DOMAIN):
        self.rng, self.domain = np.random.default_rng(seed), domain
        self.nodes, self.constants = [], []

    def const(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind, *inputs, domain="", outputs=1, **attributes):
        names = [f"v{len(self.nodes)}"] + [f"v{len(self.nodes)}_{index}" for index in range(1, outputs)]
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), names, name, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def quant(self, x, bits=2, scale=0.5, *, signed=1, zero=0.0, **attributes):
        attributes = {"narrow": int(signed and bits < 8), "rounding_mode": "ROUND", **attributes}
        parts = self.const(scale), self.const(zero), self.const(bits)
        return self.op("Quant", x, *parts, domain=self.domain, signed=signed, **attributes)

    def bipolar(self, x, scale=1.0):
        return self.op("BipolarQuant", x, self.const(scale), domain=self.domain)

    def pixels(self, x="x", bits=8):
        return self.quant(
            self.op("Sub", self.op("Mul", x, self.const(2)), self.const([1])), bits, 1 / 128, narrow=0
        )

    def weight(self, shape, bits=2):
        drawn = self.const(self.rng.uniform(-1, 1, shape))
        return self.bipolar(drawn) if bits == 1 else self.quant(drawn, bits)

    def norm(self, x, channels, spread):
        gain, bias = self.rng.uniform(0.5, 1.5, channels), self.rng.uniform(-0.5, 0.5, channels)
        mean, deviation = (
            self.rng.uniform(-0.2, 0.2, channels) * spread,
            self.rng.uniform(0.5, 1, channels) * spread,
        )
        parts = [self.const(each) for each in (gain, bias, mean, deviation**2)]
        return self.op("BatchNormalization", x, *parts, epsilon=1e-4)

    def model(self, out, shape_in, shape_out, *, opset=18, ir=10, kind=TensorProto.FLOAT):
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape_in))],
            [helper.make_tensor_value_info(out, kind, list(shape_out))],
            self.constants,
        )
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(QONNX_DOMAIN, 2)]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def mlp(
    *, shape=(1, 1, SIDE, SIDE), flatten=None, between=None, tail=None, gemm=False, classes=CLASSES, quantiser=None,
    weight_bits=2, domain=QONNX_DOMAIN, shape_out=None, **model,
):  # fmt: skip
    """36 pixels x 8 x 5; *flatten*, *between*, *quantiser* and *tail* are functions (writer, tensor) -> tensor."""
    g, values = GraphWriter(domain=domain), SIDE * SIDE
    x = g.pixels()
    x = flatten(g, x) if flatten else g.op("Reshape", x, g.const([1, values], np.int64))
    if gemm:
        x = g.op("Gemm", x, g.weight((HIDDEN, values), weight_bits), transB=1)
    else:
        x = g.op("MatMul", x, g.weight((values, HIDDEN), weight_bits))
    x = g.norm(x, HIDDEN, 3)
    x = quantiser(g, x) if quantiser else g.quant(g.op("Relu", x), 2, 0.5, signed=0)
    x = between(g, x) if between else x
    x = g.op("MatMul", x, g.weight((HIDDEN, classes), weight_bits))
    x = tail(g, x) if tail else x
    return g.model(x, shape, shape_out or (1, classes), **model)


def cnn(body, *, side=8, channels=3, quantiser=None, **model):
    """What *body* (writer, pixels) -> (tensor, its values) makes, then 5 classes."""
    g = GraphWriter(seed=5)
    x = g.pixels()
    x, values = body(g, quantiser(g, x) if quantiser else x)
    x = g.op("Reshape", x, g.const([1, values], np.int64))
    x = g.op("MatMul", x, g.weight((values, CLASSES)))
    return g.model(x, (1, channels, side, side), (1, CLASSES), **model)


def conv(g, x, inside, outside, size=3, bits=2, **attributes):
    """A convolution; what ONNX lets one leave out is left out."""
    return g.op("Conv", x, g.weight((outside, inside, size, size), bits), **attributes)


def relu_quant(g, x, channels, spread=3):
    """Batch-norm, Relu, quantiser of 2 bits."""
    return g.quant(g.op("Relu", g.norm(x, channels, spread)), 2, 0.5, signed=0)


def saved(model, path):
    """*model* in the file *path*, which is returned."""
    path.write_bytes(model.SerializeToString())
    return path


def constants_as_inputs(model):
    """The same network, as old exporters list its constants."""
    for each in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)))
    return model


def qonnx_set_first(model):
    """The same network, its operator sets listed the other way round, as torch's newer exporter does."""
    model.opset_import.append(model.opset_import.pop(0))
    return model


def with_data_beside(model, path):
    """The same network in *path*, its constants in a file beside it."""
    onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def images(count=20, side=SIDE, channels=1, seed=7):
    """Pictures of any brightness: uint8 (count, side, side, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels)).astype(np.uint8)
