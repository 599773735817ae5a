"""A small network with a larger map between two convolutions, as torch exports `Upsample`; seeded, without torch."""

import numpy as np

from support.convolutional import COLOURS, SIDE, QonnxGraph

CLASSES = 5
TORCH = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def write_upsampled(
    path, *, place="quantised", scales=(2, 2), sizes=False, bits=3, act_bits=3, rule=TORCH, seed=3
):
    """A convolution, an upsampling, a convolution, a fully connected layer.

    Args:
        place: Where it stands: "first", "sums", "quantised", "pooled" (behind a pool), "before a pool", "last"
            (behind the second convolution) or "twice".
        scales: Of rows and columns.
        sizes: The operation is told the sizes and not the scales.
        rule: Attributes of the operation.
    """
    g = QonnxGraph(seed)
    side = np.array([SIDE, SIDE])

    def resize(value, here):
        nonlocal side
        if place != here:
            return value
        for _ in range(2 if here == "twice" else 1):
            before, side = side, side * scales
            target = (
                ["", g.constant(np.array([1, channels, *side], np.int64))]
                if sizes
                else [g.constant(np.array([1, 1, *(side / before)], np.float32))]
            )
            value = g.add("Resize", [value, "", *target], mode="nearest", **rule)
        return value

    def pool(value):
        nonlocal side
        side = side // 2
        return g.add("MaxPool", [value], kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)

    channels = COLOURS
    value = resize(g.pixels(), "first")
    value = g.convolution(value, g.weights((4, channels, 3, 3), bits), 3, strides=2)
    side, channels = (side - 3) // 2 + 1, 4
    value = resize(value, "sums")
    value = g.activation(value, channels, act_bits, 3.0, relu=True)
    value = resize(resize(value, "quantised"), "twice")
    if place == "pooled":
        value = resize(pool(value), "pooled")
    if place == "before a pool":
        value = pool(resize(value, "before a pool"))
    value = g.convolution(value, g.weights((3, channels, 2, 2), bits), 2)
    side, channels = side - 1, 3
    value = g.activation(value, channels, act_bits, 2.0, relu=True)
    value = resize(value, "last")
    features = channels * int(side.prod())
    value = g.add("Reshape", [value, g.constant(np.array([1, features], np.int64))])
    value = g.add("Gemm", [value, g.weights((CLASSES, features), bits)], transB=1)
    return g.save(path, g.add("Mul", [value, g.constant(np.float32(0.37))]), CLASSES)
