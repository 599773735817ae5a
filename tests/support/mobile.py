"""A small network with a depthwise convolution, as Brevitas exports MobileNet's blocks; seeded, without torch."""

import numpy as np

from support.convolutional import COLOURS, SIDE, QonnxGraph

CLASSES = 5


def write_mobile(
    path, *, channels=6, weight_bits=4, act_bits=3, depthwise=({},), scale_per_channel=False, seed=3
):
    """A convolution, depthwise ones, a pointwise one, a fully connected layer.

    Args:
        depthwise: Of each depthwise convolution what is not usual: kernel (3), pads (0), strides (1),
            dilations ([1, 1]), bits of its weights.
        scale_per_channel: Each channel of depthwise weights has a scale of its own.
    """
    g = QonnxGraph(seed)
    side = SIDE - 2
    value = g.convolution(g.pixels(), g.weights((channels, COLOURS, 3, 3), weight_bits), 3)
    value = g.activation(value, channels, act_bits, 3.0, relu=True)
    for changed in depthwise:
        each = {"kernel": 3, "pads": 0, "strides": 1, "dilations": [1, 1], "bits": weight_bits, **changed}
        kernel, bits = each.pop("kernel"), each.pop("bits")
        weights = _depthwise_weights(g, (channels, 1, kernel, kernel), bits, scaled=scale_per_channel)
        value = g.convolution(value, weights, kernel, group=channels, **each)
        reach = each["dilations"][0] * (kernel - 1) + 1
        side = (side + 2 * each["pads"] - reach) // each["strides"] + 1
        value = g.activation(value, channels, act_bits, kernel, relu=True)
    value = g.convolution(value, g.weights((4, channels, 1, 1), weight_bits), 1)
    value = g.activation(value, 4, act_bits, 2.0, relu=True)
    value = g.add("Reshape", [value, g.constant(np.array([1, 4 * side**2], np.int64))])
    value = g.add("Gemm", [value, g.weights((CLASSES, 4 * side**2), weight_bits)], transB=1)
    return g.save(path, g.add("Mul", [value, g.constant(np.float32(0.37))]), CLASSES)


def _depthwise_weights(g, shape, bits, *, scaled):
    if not scaled:
        return g.weights(shape, bits)
    scales = g.rng.uniform(0.3, 0.6, (shape[0], 1, 1, 1))
    drawn = g.rng.uniform(-1, 1, shape).astype(np.float32)
    return g.quantised(g.constant(drawn), bits, scales, signed=1)
