"""Small random QONNX networks whose input is not a picture of 8 bits, written with onnx alone."""

import numpy as np
from onnx import StringStringEntryProto, TensorAnnotation, TensorProto, helper, numpy_helper, save

QONNX = "qonnx.custom_op.general"
CLASSES, HIDDEN = 5, 16


class Growing:
    """A graph that grows by one node a call."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def const(self, value, kind=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def op(self, kind, *inputs, domain="", **attributes):
        name = f"v{len(self.nodes)}"
        node = helper.make_node(
            kind, list(inputs), [name], f"{kind}_{len(self.nodes)}", domain=domain, **attributes
        )
        self.nodes.append(node)
        return name

    def quant(self, x, bits, scale, signed=1):
        if bits == 1:
            return self.op("BipolarQuant", x, self.const(scale), domain=QONNX)
        parts = self.const(scale), self.const(0), self.const(bits)
        narrow = int(signed and bits < 8)
        return self.op("Quant", x, *parts, domain=QONNX, signed=signed, narrow=narrow, rounding_mode="ROUND")

    def weight(self, shape):
        return self.quant(self.const(self.random.uniform(-1, 1, shape)), 2, 1.0)

    def act(self, x, channels, spread):
        drawn = self.random
        parts = [drawn.uniform(0.5, 1.5, channels), drawn.uniform(-0.5, 0.5, channels)]
        parts += [drawn.uniform(-0.2, 0.2, channels) * spread, drawn.uniform(0.5, 1, channels) * spread**2]
        x = self.op("BatchNormalization", x, *map(self.const, parts), epsilon=1e-4)
        return self.quant(self.op("Relu", x), 2, 0.5, signed=0)


def write_mlp(path, shape, *, quantiser=None, declared="", spread=40.0):
    """A network of two products for frames of *shape*, the first axis 1; its path.

    Args:
        path: Where.
        shape: Of the input; of images channels first.
        quantiser: Bits and scale of a signed quantiser in front; None for none.
        declared: The datatype that the file declares for its input.
        spread: Of the first sums, about.
    """
    net = Growing(7)
    values = int(np.prod(shape))
    x = net.quant("x", *quantiser) if quantiser else "x"
    x = net.op("Reshape", x, net.const([1, values], np.int64)) if len(shape) > 2 else x
    x = net.act(net.op("MatMul", x, net.weight((values, HIDDEN))), HIDDEN, spread)
    x = net.op("MatMul", x, net.weight((HIDDEN, CLASSES)))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    outputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, CLASSES])]
    graph = helper.make_graph(net.nodes, "net", inputs, outputs, net.constants)
    if declared:
        note = TensorAnnotation(tensor_name="x")
        note.quant_parameter_tensor_names.append(StringStringEntryProto(key="finn_datatype", value=declared))
        graph.quantization_annotation.append(note)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(QONNX, 2)]
    save(helper.make_model(graph, opset_imports=imports, ir_version=10), str(path))
    return path
