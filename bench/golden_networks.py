"""Binary networks of random signs, as the golden model runs them and as onnxruntime does in float.

Speed does not depend on what was learned, so no trained weights are needed; thresholds lie where about
half of the bits are ones.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from labd_host.dataflow.layers import DataflowGraph, LabelSelect, MaxPool, Mvau, SlidingWindow, Thresholding
from labd_shared.tensors import make_tensor

CNV = ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False))  # channels, pool
RNG = np.random.default_rng(0)


def binary_network(
    name: str,
    image: tuple[int, int, int],
    convs: Sequence[tuple[int, bool]],
    hidden: Sequence[int],
    classes: int,
) -> DataflowGraph:
    """3 x 3 convolutions, 2 x 2 pools and matrices of signs; bytes go in, a label comes out."""
    height, width, channels = image
    layers: list = []
    arrays = {}
    if convs:  # pixels as INT8; else as bits
        layers.append(Thresholding("pixels", channels, height * width, 1, 255, "UINT8", "INT8", -128))
        arrays["pixels.thresholds"] = np.arange(1, 256)[np.newaxis]
    else:
        channels = height * width * channels
        layers.append(Thresholding("pixels", channels, 1, 1, 1, "UINT8", "BINARY", 0))
        arrays["pixels.thresholds"] = np.array([[128]])

    def add_product(mw: int, mh: int, vectors: int, *, last: bool = False) -> None:
        kind = layers[-1].output
        bits, name = kind == "BINARY", f"product{len(layers)}"
        sizes = (mw, mh, vectors, 1, 1, 0 if last else 1, bits)
        output = "UINT32" if last else "BINARY"
        layers.append(Mvau(name, *sizes, kind, "BINARY" if bits else "BIPOLAR", output, 0))
        signs = RNG.integers(0, 2, (mw, mh))
        arrays[f"{name}.weights"] = signs if bits else 2 * signs - 1
        if not last:
            middle, spread = (mw // 2, int(mw**0.5)) if bits else (0, 40 * mw)
            arrays[f"{name}.thresholds"] = RNG.integers(middle - spread, middle + spread + 1, (mh, 1))

    def add_window(kernel: int, stride: int) -> None:
        kind, where = layers[-1].output, (channels, height, width, kernel, kernel, stride, stride, 1, 1)
        layers.append(SlidingWindow(f"window{len(layers)}", *where, stride > 1, False, 1, kind, kind))

    for filters, pooled in convs:
        add_window(3, 1)
        height, width = height - 2, width - 2
        add_product(9 * channels, filters, height * width)
        channels = filters
        if pooled:
            add_window(2, 2)
            height, width = height // 2, width // 2
            layers.append(MaxPool(f"pool{len(layers)}", channels, height * width, 4, 1, "BINARY", "BINARY"))
    for features in hidden:
        add_product(layers[-1].out_values, features, 1)
    add_product(layers[-1].out_values, classes, 1, last=True)
    layers.append(LabelSelect("label", classes, 1, "UINT32", "UINT8"))
    values = layers[0].in_values
    tensors = (
        make_tensor("in", "UINT8", (1, *image), (1, *image[:2], 1, image[2]), "NHWC", "idma0"),
        make_tensor("out", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0"),
    )
    assert values == np.prod(image)
    return DataflowGraph(name, tuple(layers), tensors[:1], tensors[1:], arrays)


def float_model(network: DataflowGraph) -> bytes:
    """The same network for onnxruntime in float32: "x" is (n, channels, height, width) of pixels, its
    output the dot products of the last layer, of which the golden model counts the agreeing signs.

    A threshold is a bias that no sum can make zero, and Sign: nothing is faster in onnxruntime.
    """
    nodes, constants = [], []

    def constant(value: np.ndarray) -> str:
        name = f"constant{len(constants)}"
        constants.append(numpy_helper.from_array(value, name))
        return name

    def add(operator: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [f"value{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    first = network.layers[0]
    is_bits = first.output == "BINARY"
    value = add("Sub", "x", constant(np.float32(127.5 if is_bits else 128)))
    if is_bits:
        value = add("Reshape", add("Sign", value), constant(np.array([-1, first.channels])))
    window, flat = None, is_bits
    for layer in network.layers[1:]:
        if isinstance(layer, SlidingWindow):
            window = layer
        elif isinstance(layer, MaxPool):
            value = add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
            window = None
        elif isinstance(layer, Mvau):
            weights = network.weights(layer)
            signs = (2 * weights - 1 if layer.xnor else weights).astype(np.float32)
            bias = np.zeros(layer.mh, np.float32)
            if layer.steps:
                reached = network.thresholds(layer)[:, 0]
                # A dot product is even or odd as 2 * reached - mw is; without bits it is any integer.
                bias = (layer.mw - 2 * reached + 1 if layer.xnor else 0.5 - reached).astype(np.float32)
            if window is not None:
                kernel = signs.reshape(window.kernel_h, window.kernel_w, window.channels, layer.mh)
                value = add(
                    "Conv",
                    value,
                    constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))),
                    constant(bias),
                )
                window = None
            else:
                if not flat:
                    value, flat = add("Reshape", value, constant(np.array([-1, layer.mw]))), True
                value = add("Gemm", value, constant(signs), constant(bias))
            if layer.steps:
                value = add("Sign", value)
    height, width, channels = network.inputs[0].normal[1:]
    graph = helper.make_graph(
        nodes,
        network.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, height, width])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", None])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bit_products(network: DataflowGraph) -> int:
    """Products of two bits that a frame takes."""
    return sum(
        layer.vectors * layer.mw * layer.mh
        for layer in network.layers
        if isinstance(layer, Mvau) and layer.xnor
    )
