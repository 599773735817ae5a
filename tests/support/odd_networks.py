"""Small dataflow networks that FINN's usual ones do not look like; seeded, and a set of images for each."""

import numpy as np

from labd_host.dataflow.layers import (
    DataflowGraph,
    GlobalPool,
    LabelSelect,
    MaxPool,
    Mvau,
    Padding,
    SlidingWindow,
    Thresholding,
    Upsample,
    Vvau,
)
from labd_shared.datatypes import parse_datatype
from labd_shared.tensors import make_tensor

FRAMES = 5


def product(name, mw, mh, vectors, kinds, steps=0, offset=0):
    """*kinds*: input, weight, output; bits agree where the first two are bits."""
    given, weight, output = kinds
    xnor = given == weight == "BINARY"
    return Mvau(name, mw, mh, vectors, 1, 1, steps, xnor, given, weight, output, offset)


def depthwise(name, channels, kernel, vectors, kinds, steps=0, offset=0):
    """*kinds*: input, weight, output."""
    given, weight, output = kinds
    return Vvau(name, channels, kernel, vectors, 1, 1, steps, given, weight, output, offset)


def thresholding(name, channels, vectors, given, output, steps=1, offset=0):
    return Thresholding(name, channels, vectors, 1, steps, given, output, offset)


def window(name, channels, sizes, kernel, kind, stride=1, dilation=1):
    """*sizes*: height, width; *kernel*: the same of the window."""
    places = (*sizes, *kernel, stride, stride, dilation, dilation)
    return SlidingWindow(name, channels, *places, False, False, 1, kind, kind)


def bits(channels, vectors=1):
    """What turns pixels into bits."""
    return thresholding("t", channels, vectors, "UINT8", "BINARY")


def pool(channels, vectors, kernel, kind):
    return MaxPool("pool", channels, vectors, kernel, 1, kind, kind)


def global_pool(channels, side, given, output):
    return GlobalPool("sum", channels, side, side, 1, given, output)


def larger(channels, sizes, scales, kind):
    return Upsample("larger", channels, *sizes, *scales, 1, kind, kind)


def padded(channels, sizes, kind):
    return Padding("pad", channels, *sizes, 1, 0, 2, 1, 1, kind, kind)


NETWORKS = {
    "sums beyond 32 bits": [product("a", 40, 3, 1, ("INT32", "INT8", "BINARY"), 1)],
    "small factors, wide sums": [product("a", 40, 3, 1, ("INT15", "INT15", "BINARY"), 1)],
    "wide sums counted": [product("a", 9, 4, 2, ("INT32", "INT4", "UINT2"), 3)],
    "weights beyond 16 bits": [product("a", 5, 3, 1, ("INT4", "INT20", "INT32"))],
    "sums, then thresholds": [
        product("a", 12, 5, 2, ("UINT8", "INT4", "INT32")),
        thresholding("b", 5, 2, "INT32", "UINT2", 3),
        product("c", 10, 4, 1, ("UINT2", "INT2", "INT16")),
        LabelSelect("label", 4, 1, "INT16", "UINT8"),
    ],
    "sums, then bits": [
        product("a", 12, 35, 2, ("UINT8", "BIPOLAR", "INT32")),
        thresholding("b", 35, 2, "INT32", "BINARY"),
        product("c", 70, 3, 1, ("BINARY", "BINARY", "UINT32")),
    ],
    "sums as factors": [
        product("a", 6, 4, 1, ("UINT8", "INT2", "INT16")),
        product("b", 4, 3, 1, ("INT16", "INT4", "INT32")),
    ],
    "signs": [
        product("a", 7, 6, 2, ("UINT4", "BIPOLAR", "BIPOLAR"), 1),
        product("b", 12, 3, 1, ("BIPOLAR", "BIPOLAR", "INT8")),
        LabelSelect("label", 3, 1, "INT8", "UINT8"),
    ],
    "bits as numbers": [bits(33), product("a", 33, 4, 1, ("BINARY", "INT4", "INT16"))],
    "bits counted": [bits(33, 2), product("a", 33, 5, 2, ("BINARY", "BINARY", "INT2"), 3, -2)],
    "bits in other groups": [
        bits(6, 4),
        product("a", 3, 8, 8, ("BINARY", "BINARY", "BINARY"), 1),
        product("b", 16, 5, 4, ("BINARY", "BINARY", "UINT32")),
    ],
    "rows of many words": [bits(1100), product("a", 1100, 33, 1, ("BINARY", "BINARY", "UINT32"))],
    "windows copied out": [bits(3, 20), window("w", 3, (4, 5), (2, 3), "BINARY")],
    "values copied out": [
        window("w", 2, (4, 5), (2, 2), "UINT8", stride=2),
        thresholding("t", 2, 2 * 2 * 4, "UINT8", "UINT2", 3),
    ],
    "windows in other groups": [
        bits(3, 20),
        window("w", 3, (4, 5), (2, 3), "BINARY"),
        product("a", 6, 4, 27, ("BINARY", "BINARY", "BINARY"), 1),
    ],
    "far apart": [
        window("w", 3, (7, 6), (3, 2), "UINT8", dilation=3),
        product("a", 18, 4, 3, ("UINT8", "INT8", "INT32")),
    ],
    "a pool of what comes": [bits(40, 6), pool(40, 2, 3, "BINARY")],
    "a pool of numbers": [
        thresholding("t", 3, 12, "UINT8", "INT4", 15, -8),
        window("w", 3, (3, 4), (2, 2), "INT4"),
        pool(3, 6, 4, "INT4"),
    ],
    "a pool of pixels": [window("w", 3, (4, 4), (2, 2), "UINT8", stride=2), pool(3, 4, 4, "UINT8")],
    "a map added up": [
        thresholding("t", 3, 9, "UINT8", "INT3", 7, -4),
        global_pool(3, 3, "INT3", "INT7"),
        product("a", 3, 5, 1, ("INT7", "INT4", "INT16")),
        LabelSelect("label", 5, 1, "INT16", "UINT8"),
    ],
    "bits added up, then thresholds": [
        bits(35, 4),
        global_pool(35, 2, "BINARY", "UINT3"),
        thresholding("u", 35, 1, "UINT3", "UINT2", 3),
    ],
    "sums added up": [
        product("a", 2, 33, 4, ("UINT4", "INT4", "INT29")),
        global_pool(33, 2, "INT29", "INT31"),
    ],
    "pixels added up": [global_pool(4, 4, "UINT8", "UINT12"), LabelSelect("label", 4, 1, "UINT12", "UINT8")],
    "one pixel": [global_pool(5, 1, "INT4", "INT4")],
    "each channel by itself": [
        thresholding("t", 35, 20, "UINT8", "INT4", 15, -8),
        window("w", 35, (4, 5), (2, 3), "INT4"),
        depthwise("d", 35, 6, 9, ("INT4", "INT4", "UINT2"), 3),
        product("a", 35, 4, 9, ("UINT2", "INT2", "INT16")),
    ],
    "signs of each channel": [
        thresholding("t", 3, 20, "UINT8", "BIPOLAR"),
        window("w", 3, (4, 5), (3, 2), "BIPOLAR", dilation=1),
        depthwise("d", 3, 6, 8, ("BIPOLAR", "INT2", "BIPOLAR"), 1),
        depthwise("e", 3, 1, 8, ("BIPOLAR", "INT2", "BINARY"), 1),
        product("a", 6, 4, 4, ("BINARY", "BINARY", "UINT32")),
    ],
    "each channel with sums beyond 32 bits": [
        depthwise("d", 5, 4, 2, ("INT31", "INT8", "BINARY"), 1),
        product("a", 10, 4, 1, ("BINARY", "BIPOLAR", "INT16")),
    ],
    "sums of each channel": [depthwise("d", 4, 3, 2, ("UINT8", "INT20", "INT32"))],
    "a larger map of bits": [
        bits(35, 6),
        larger(35, (2, 3), (2, 3), "BINARY"),
        window("w", 35, (4, 9), (2, 2), "BINARY"),
        product("a", 140, 4, 24, ("BINARY", "BINARY", "BINARY"), 1),
    ],
    "larger pixels": [larger(3, (3, 2), (1, 4), "UINT8"), window("w", 3, (3, 8), (2, 2), "UINT8")],
    "larger sums": [
        product("a", 2, 3, 4, ("UINT4", "INT4", "INT29")),
        larger(3, (2, 2), (3, 1), "INT29"),
        thresholding("t", 3, 12, "INT29", "UINT2", 3),
    ],
    "padded bits": [
        bits(2, 6),
        padded(2, (2, 3), "BINARY"),
        window("w", 2, (5, 4), (3, 3), "BINARY"),
        product("a", 18, 4, 6, ("BINARY", "BINARY", "BINARY"), 1),
    ],
    "padded at the end": [thresholding("t", 2, 6, "UINT8", "UINT4", 15), padded(2, (2, 3), "UINT4")],
    "the largest pixel": [LabelSelect("label", 7, 1, "UINT8", "UINT8")],
    "the first bit": [bits(7), LabelSelect("label", 7, 1, "BINARY", "UINT8")],
    "thresholds of 16 bits": [thresholding("t", 5, 2, "INT16", "INT8", 255, -128)],
    "numbers from bits": [bits(5, 2), thresholding("b", 5, 2, "BINARY", "BIPOLAR")],
}


def network(name):
    """The network called *name* and images for it."""
    layers = NETWORKS[name]
    rng = np.random.default_rng(sorted(NETWORKS).index(name))
    arrays = {}
    for layer in layers:
        if isinstance(layer, Mvau | Vvau):
            kind = parse_datatype(layer.weight)
            shape = (layer.mw, layer.mh) if isinstance(layer, Mvau) else (layer.kernel, layer.channels)
            drawn = rng.integers(kind.low, kind.high + 1, shape)
            drawn[:, 0], drawn[:, -1] = kind.high, kind.low  # sums as large as they can be
            arrays[f"{layer.name}.weights"] = (
                np.where(drawn == 0, 1, drawn) if layer.weight == "BIPOLAR" else drawn
            )
        if getattr(layer, "steps", 0):
            arrays[f"{layer.name}.thresholds"] = thresholds(rng, layer, arrays)
    first, last = layers[0], layers[-1]
    given = parse_datatype(first.input)
    images = rng.integers(given.low, given.high + 1, (FRAMES, first.in_values))
    images[0], images[1] = given.low, given.high
    ends = [("in", first.input, first.in_values, "idma0"), ("out", last.output, last.out_values, "odma0")]
    tensors = [make_tensor(end, kind, (1, size), (1, size, 1), "NC", dma) for end, kind, size, dma in ends]
    return DataflowGraph(name, tuple(layers), (tensors[0],), (tensors[1],), arrays), images


def thresholds(rng, layer, arrays):
    """Within and around what is compared with them: extremes, too."""
    kind = parse_datatype(layer.input)
    low, high, rows = kind.low, kind.high, layer.mh if isinstance(layer, Mvau) else layer.channels
    if not isinstance(layer, Thresholding):
        size = int(np.abs(arrays[f"{layer.name}.weights"]).sum(axis=0).max() * max(high, -low)) // 4
        xnor = isinstance(layer, Mvau) and layer.xnor
        low, high = (0, layer.mw) if xnor else (-size, size)
    drawn = rng.integers(low - 1, high + 3, (rows, layer.steps))
    drawn[0, 0] = low - 5
    drawn[-1, -1] = high + 2**40
    return np.sort(drawn, axis=1)
