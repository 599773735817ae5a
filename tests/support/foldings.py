"""Random legal foldings, to compare labd's figures with FINN's over many."""

from labd_host.dataflow.layers import MaxPool, Mvau, SlidingWindow, Vvau

MOST = 64  # values of a factor: wider streams than FINN allows would follow
MOST_SIMD_FOLD = 1024


def random_folding(draw, layers):
    """Node -> PE, SIMD, ...; the window of a pool is folded like the pool, every third other one leaves whole.

    A depthwise product takes any part of whole windows, and of others a place a cycle.

    Args:
        draw: A `random.Random`.
        layers: Of the golden model, in the order of the stream.
    """

    def divisor(extent, least=1):
        return draw.choice([each for each in range(least, min(extent, MOST) + 1) if extent % each == 0])

    settings = {}
    for layer, behind in zip(layers, (*layers[1:], None), strict=True):
        if isinstance(layer, Mvau):
            least = -(-layer.mw // MOST_SIMD_FOLD)
            settings[layer.name] = {"PE": divisor(layer.mh), "SIMD": divisor(layer.mw, least)}
        elif isinstance(layer, SlidingWindow):
            whole = not isinstance(behind, MaxPool) and draw.random() < 0.3
            simd = divisor(layer.channels) if layer.depthwise or not whole else layer.channels
            settings[layer.name] = {"SIMD": simd, "parallel_window": int(whole)}
        elif isinstance(layer, MaxPool):
            settings[layer.name] = {"PE": simd}
        elif isinstance(layer, Vvau):
            settings[layer.name] = {"PE": simd, "SIMD": divisor(layer.kernel) if whole else 1}
        else:
            (axis,) = layer.axes
            settings[layer.name] = {axis.key: divisor(axis.extent)}
    return settings
