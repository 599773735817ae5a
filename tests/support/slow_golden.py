"""What a dataflow network computes, by the definition of each layer: slow, and nothing to get wrong."""

import numpy as np

from labd_host.dataflow.layers import (
    GlobalPool,
    LabelSelect,
    MaxPool,
    Padding,
    SlidingWindow,
    Thresholding,
    Upsample,
    Vvau,
)


def slow(network, frame):
    """Every layer's output for one frame, and "<layer>.accumulators" where thresholds follow; flat lists."""
    found = {}
    values = np.asarray(frame, dtype=np.int64).reshape(-1)
    for layer in network.layers:
        if isinstance(layer, LabelSelect):
            scores = values.tolist()
            values = np.array([scores.index(max(scores))])
        elif isinstance(layer, Padding):
            grown = np.zeros((layer.out_height, layer.out_width, layer.channels), np.int64)
            for row in range(layer.height):
                for column in range(layer.width):
                    for channel in range(layer.channels):
                        place = (row * layer.width + column) * layer.channels + channel
                        grown[layer.top + row, layer.left + column, channel] = values[place]
            values = grown.reshape(-1)
        elif isinstance(layer, SlidingWindow):
            values = np.concatenate(
                [window(values, layer, i, j) for i in range(layer.out_height) for j in range(layer.out_width)]
            )
        elif isinstance(layer, MaxPool):
            groups = values.reshape(layer.vectors, layer.kernel, layer.channels)
            values = np.array(
                [[max(group[:, c]) for c in range(layer.channels)] for group in groups]
            ).reshape(-1)
        elif isinstance(layer, GlobalPool):
            pixels = values.reshape(layer.height * layer.width, layer.channels).tolist()
            values = np.array([sum(pixel[c] for pixel in pixels) for c in range(layer.channels)])
        elif isinstance(layer, Upsample):
            values = np.array(
                [
                    values[((i // layer.scale_h) * layer.width + j // layer.scale_w) * layer.channels + c]
                    for i in range(layer.height * layer.scale_h)
                    for j in range(layer.width * layer.scale_w)
                    for c in range(layer.channels)
                ]
            )
        elif isinstance(layer, Thresholding):
            values = levels(values, layer.channels, network, layer)
        else:
            add = channel_sums if isinstance(layer, Vvau) else sums
            values = add(values, network.weights(layer), layer)
            if layer.steps:
                found[f"{layer.name}.accumulators"] = values.tolist()
                values = levels(values, layer.out_values // layer.vectors, network, layer)
        found[layer.name] = values.tolist()
    return found


def window(values, layer, i, j):
    """The values of window (i, j): row by row, column by column, all channels of each."""
    taken = []
    for row in range(layer.kernel_h):
        for column in range(layer.kernel_w):
            y = i * layer.stride_h + row * layer.dilation_h
            x = j * layer.stride_w + column * layer.dilation_w
            first = (y * layer.width + x) * layer.channels
            taken += [values[first + channel] for channel in range(layer.channels)]
    return np.array(taken, dtype=np.int64)


def sums(values, weights, layer):
    """Agreeing bits, or products, added; a vector of the input at a time."""
    found = []
    for vector in values.reshape(layer.vectors, layer.mw):
        for row in range(layer.mh):
            column = np.asarray(weights[:, row], dtype=np.int64)
            found.append(int((vector == column).sum() if layer.xnor else (vector * column).sum()))
    return np.array(found, dtype=np.int64)


def channel_sums(values, weights, layer):
    """Products of each channel's values in a window with its own weights, added."""
    found = []
    for each in values.reshape(layer.vectors, layer.kernel, layer.channels).tolist():
        for channel in range(layer.channels):
            found.append(sum(each[i][channel] * int(weights[i, channel]) for i in range(layer.kernel)))
    return np.array(found, dtype=np.int64)


def levels(values, channels, network, layer):
    """How many thresholds each value reaches, as the level it stands for."""
    found = []
    thresholds = network.thresholds(layer)
    for place, value in enumerate(values):
        ladder = thresholds[place % channels if len(thresholds) > 1 else 0]
        reached = int((value >= ladder).sum())
        found.append(2 * reached - 1 if layer.output == "BIPOLAR" else reached + layer.offset)
    return np.array(found, dtype=np.int64)
