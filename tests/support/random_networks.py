"""Small random networks of the kinds that labd takes, and some with one thing in them that it refuses.

A network is drawn as a `RandomNetwork`, plain data, and written by `write`; both are seeded.
"""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from support.small_exports import GraphWriter, constants_as_inputs, qonnx_set_first, saved

SIDE = 8
# What labd refuses, and a word of the reason it must give.
REFUSED = {
    "floor": "FLOOR",
    "zero point": "zero point",
    "top 5": "TopK",
    "branch": "branch",
    "ceil_mode": "ceil_mode",
    "padded bits": "pad",
    "groups": "groups",
    "softsign": "Softsign",
    "uneven deviations": "scales",
}


@dataclass(frozen=True)
class Conv:
    """A convolution, batch-norm, Relu or sign, quantiser; a pool or an upsampling behind it."""

    channels: int
    kernel: tuple
    stride: int
    padding: int
    weight_bits: int
    bits: int
    depthwise: bool
    bias: bool
    behind: str  # "", "pool", "pool before", "upsample"


@dataclass(frozen=True)
class Dense:
    """A matrix product, batch-norm, quantiser."""

    width: int
    weight_bits: int
    bits: int
    bias: bool


@dataclass(frozen=True)
class RandomNetwork:
    """A network: pixels, convolutions, fully connected layers, scores."""

    seed: int
    colours: int
    input: str  # "quantised", "bipolar", "pixels", "normalised"
    convs: tuple
    average: bool
    dense: tuple
    classes: int
    last_bits: int
    tail: str
    written: str
    refused: str  # a key of `REFUSED`, "" for none


BITS = (1, 2, 3, 4, 8)


def networks():
    """Any network; one in eight has something in it that labd refuses."""
    return st.integers(0, 2**32 - 1).map(drawn)


def drawn(seed):
    """The network of *seed*: nothing in it depends on what another seed gives."""
    rng = np.random.default_rng(seed)

    def one_of(*choices):
        return choices[rng.integers(len(choices))]

    convs, side, channels = [], SIDE, one_of(1, 3)
    colours = channels
    entered = one_of("quantised", "bipolar", "pixels", "normalised")
    padded = entered in ("quantised", "pixels")  # zeros are not a value of one bit, nor of what was shifted
    for _ in range(one_of(0, 0, 1, 2)):
        conv = _conv(one_of, side, channels, padded=padded)
        padded = conv.bits > 1
        convs.append(conv)
        side, channels = _after(conv, side), conv.channels
    refusable = ["floor", "zero point", "top 5", "branch", "softsign"]
    if convs:
        refusable += ["padded bits"] + ["groups"] * (colours > 1)
        refusable += ["ceil_mode"] * (_convolved(convs[0], SIDE) in (3, 5, 7) and not convs[0].behind)
    refusable += ["uneven deviations"] * (entered == "normalised" and colours > 1)
    dense = [
        Dense(one_of(4, 8, 12), one_of(*BITS), one_of(*BITS), one_of(True, False))
        for _ in range(one_of(0, 1, 2))
    ]
    if not convs and not dense:
        dense = [Dense(8, one_of(*BITS), one_of(*BITS), False)]
    return RandomNetwork(
        seed=seed,
        colours=colours,
        input=entered,
        convs=tuple(convs),
        average=bool(convs) and convs[-1].bits > 1 and one_of(True, False),
        dense=tuple(dense),
        classes=one_of(2, 3, 5, 10, 12),
        last_bits=one_of(*BITS),
        tail=one_of("", "", "softmax", "argmax", "scale"),
        written=one_of("", "qonnx first", "constants as inputs"),
        refused=one_of(*refusable) if rng.integers(8) == 0 else "",
    )


def _convolved(conv, side):
    return (side + 2 * conv.padding - conv.kernel[0]) // conv.stride + 1


def _after(conv, side):
    side = _convolved(conv, side)
    return side // 2 if conv.behind.startswith("pool") else side * 2 if conv.behind == "upsample" else side


def _conv(one_of, side, channels, *, padded):
    kernel = one_of(*[(size, size) for size in (3, 1, 2) if size <= side])
    padding = one_of(0, 0, 1) if kernel == (3, 3) and padded else 0
    stride = one_of(1, 1, 2)
    depthwise = channels > 1 and one_of(True, False)
    made = Conv(
        channels=channels if depthwise else one_of(2, 4, 6),
        kernel=kernel,
        stride=stride,
        padding=padding,
        weight_bits=one_of(*BITS),
        bits=one_of(*BITS),
        depthwise=depthwise,
        bias=one_of(True, False),
        behind="",
    )
    if _convolved(made, side) % 2 == 0:
        made = replace(made, behind=one_of("", "pool", "pool before", "upsample"))
    return made


def write(network, path):
    """*network* as an export in the file *path*, which is returned; the input is (1, colours, SIDE, SIDE)."""
    g = GraphWriter(seed=network.seed)
    x, bits = _input(g, network)
    side, channels = SIDE, network.colours
    for index, conv in enumerate(network.convs):
        x, side, channels, bits = _write_conv(g, x, conv, (side, channels, bits), network, first=index == 0)
    if network.average:
        x = g.op("GlobalAveragePool", x)
        x, side = g.quant(x, 4, 1 / 8, signed=0), 1
    values = channels * side * side
    x = g.op("Reshape", x, g.const([1, values], np.int64))
    for layer in network.dense:
        x = g.op("MatMul", x, g.weight((values, layer.width), layer.weight_bits))
        if layer.bias:
            x = g.op("Add", x, g.const(g.rng.uniform(-1, 1, layer.width)))
        x = _activation(g, x, layer.width, layer.bits, np.sqrt(values))
        values = layer.width
    x = _odd(g, x, network.refused)
    x = g.op("MatMul", x, g.weight((values, network.classes), network.last_bits))
    x = _tail(g, x, network)
    model = g.model(x, (1, network.colours, SIDE, SIDE), (1, network.classes))
    if network.written == "qonnx first":
        model = qonnx_set_first(model)
    elif network.written == "constants as inputs":
        model = constants_as_inputs(model)
    del model.graph.output[0].type.tensor_type.shape.dim[:]  # a tail may change it
    return saved(model, path)


def _input(g, network):
    """What the first layer takes, and its bits."""
    if network.input == "quantised":
        return g.pixels(), 8
    if network.input == "bipolar":
        return g.bipolar(g.op("Sub", g.op("Mul", "x", g.const(2)), g.const([1]))), 1
    if network.input == "pixels":
        return "x", 8
    shape = (1, network.colours, 1, 1)
    x = g.op("Sub", "x", g.const(g.rng.uniform(0.3, 0.6, shape)))
    uneven = network.refused == "uneven deviations"
    deviation = g.rng.uniform(0.2, 0.4, shape) if uneven else np.full((1, 1, 1, 1), 0.25)
    return g.op("Div", x, g.const(deviation)), 8


def _write_conv(g, x, conv, before, network, *, first):
    side, channels, bits = before
    padding = conv.padding
    attributes = {"pads": [padding] * 4, "strides": [conv.stride] * 2}
    outside = conv.channels
    if conv.depthwise:
        attributes["group"] = channels
        weight = g.weight((channels, 1, *conv.kernel), conv.weight_bits)
    else:
        weight = g.weight((outside, channels, *conv.kernel), conv.weight_bits)
    if network.refused == "groups" and first:
        attributes["group"], outside = channels, channels * 2
        if channels == 1:
            attributes["group"] = 1
        weight = g.weight((outside, 1, *conv.kernel), conv.weight_bits)
    if network.refused == "padded bits" and first:
        x, padding = g.bipolar(x), 1
        attributes["pads"] = [1] * 4
    inputs = [x, weight]
    if conv.bias:
        inputs.append(g.const(g.rng.uniform(-1, 1, outside)))
    x = g.op("Conv", *inputs, **attributes)
    side = (side + 2 * padding - conv.kernel[0]) // conv.stride + 1
    spread = np.sqrt(channels * conv.kernel[0] * conv.kernel[1])
    pools = conv.behind.startswith("pool") and side >= 2
    if conv.behind == "pool before" and pools and conv.bits > 1:
        x = _pool(g, g.norm(x, outside, spread))
        x, side = g.quant(g.op("Relu", x), conv.bits, 0.5, signed=0), side // 2
        return x, side, outside, conv.bits
    x = _activation(g, x, outside, conv.bits, spread)
    if network.refused == "ceil_mode" and first and side % 2 == 1:
        x, side = _pool(g, x, ceil_mode=1), -(-side // 2)
    elif pools:
        x, side = _pool(g, x), side // 2
    elif conv.behind == "upsample":
        scales = g.const([1, 1, 2, 2])
        x = g.op("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                 nearest_mode="floor")  # fmt: skip
        side *= 2
    return x, side, outside, conv.bits


def _pool(g, x, **attributes):
    return g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], **attributes)


def _activation(g, x, channels, bits, spread):
    x = g.norm(x, channels, spread)
    if bits == 1:
        return g.bipolar(x)
    return g.quant(g.op("Relu", x), bits, 2.0 ** -(bits - 1), signed=0)


def _odd(g, x, refused):
    if refused == "floor":
        return g.quant(x, 2, 0.5, rounding_mode="FLOOR")
    if refused == "zero point":
        return g.quant(x, 4, 0.25, signed=0, zero=3.0)
    if refused == "softsign":
        return g.op("Softsign", x)
    if refused == "branch":
        return g.op("Add", g.op("Relu", x), x)
    return x


def _tail(g, x, network):
    if network.refused == "top 5":
        return g.op("TopK", x, g.const([min(5, network.classes)], np.int64), outputs=2)[1]
    if network.tail == "softmax":
        return g.op("Softmax", x, axis=-1)
    if network.tail == "argmax":
        return g.op("ArgMax", x, axis=1)
    if network.tail == "scale":
        return g.op("Mul", x, g.const(0.37))
    return x
