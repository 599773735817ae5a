"""What a dataflow network computes, step by step, as both forms of the golden model run it.

A sliding window and the product or the pool behind it are one step, so that no window is ever copied
out of its feature map. Thresholds are integers that lie within what is compared with them.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import (
    LabelSelect,
    Layer,
    MaxPool,
    Mvau,
    Network,
    Padding,
    SlidingWindow,
    Thresholding,
    windows_along,
)
from labd_shared.datatypes import Datatype, parse_datatype
from labd_shared.errors import UsageError

EXACT = 1 << 53  # sums below it are exact in every form: float64 holds them

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """The windows of a feature map. All of it in pixels, each of *channels* values."""

    height: int
    width: int
    channels: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1

    @property
    def pixels(self) -> int:
        """Of the feature map."""
        return self.height * self.width

    @property
    def out_height(self) -> int:
        """Windows from top to bottom."""
        return windows_along(self.height, self.kernel_h, self.stride_h, self.dilation_h)

    @property
    def out_width(self) -> int:
        """Windows from left to right."""
        return windows_along(self.width, self.kernel_w, self.stride_w, self.dilation_w)

    @property
    def count(self) -> int:
        """Windows of a frame."""
        return self.out_height * self.out_width

    @property
    def kernel(self) -> int:
        """Pixels of a window."""
        return self.kernel_h * self.kernel_w

    def starts(self) -> Integers:
        """The first pixel of each window, (count,)."""
        rows = np.arange(self.out_height) * (self.stride_h * self.width)
        return (rows[:, np.newaxis] + np.arange(self.out_width) * self.stride_w).reshape(-1)

    def offsets(self) -> Integers:
        """The pixels of a window, counted from its first, (kernel,)."""
        rows = np.arange(self.kernel_h) * (self.dilation_h * self.width)
        return (rows[:, np.newaxis] + np.arange(self.kernel_w) * self.dilation_w).reshape(-1)


@dataclass(frozen=True, eq=False)
class Ladder:
    """Counts how many thresholds a value reaches.

    Attributes:
        kind: Datatype of the levels.
        offset: Level of a value that reaches none.
        rise: From one level to the next: 2 for BIPOLAR, else 1.
        thresholds: (1 or channels, steps), ascending, none below the least value that is compared
            and none more than one above the largest.
    """

    kind: Datatype
    offset: int
    rise: int
    thresholds: Integers = field(repr=False)

    @property
    def steps(self) -> int:
        """Thresholds of a channel."""
        return int(self.thresholds.shape[1])

    @property
    def is_bit(self) -> bool:
        """Whether a level is a bit."""
        return self.kind.name == "BINARY"


@dataclass(frozen=True, eq=False)
class Levels:
    """Thresholds of *pixels* times *channels* values."""

    layer: Thresholding
    pixels: int
    channels: int
    ladder: Ladder


@dataclass(frozen=True, eq=False)
class Product:
    """Windows times a matrix, and thresholds where there is a ladder.

    Attributes:
        slide: The layer whose windows these are; None where the values come as they are.
        weights: (kernel * channels, mh); bits where *layer* counts agreeing bits.
        largest: No partial sum is further from 0.
    """

    layer: Mvau
    slide: SlidingWindow | None
    windows: Windows
    ladder: Ladder | None
    weights: Integers = field(repr=False)
    largest: int


@dataclass(frozen=True)
class Pool:
    """The largest value of each channel in each window."""

    layer: MaxPool
    slide: SlidingWindow | None
    windows: Windows


@dataclass(frozen=True)
class Slide:
    """Windows that neither a product nor a pool takes in: they are copied out."""

    layer: SlidingWindow
    windows: Windows


@dataclass(frozen=True)
class Pad:
    """Zeros around a feature map."""

    layer: Padding


@dataclass(frozen=True)
class Select:
    """The index of the largest score."""

    layer: LabelSelect


Step = Levels | Product | Pool | Slide | Pad | Select


def make_plan(network: Network) -> tuple[Step, ...]:
    """The steps of *network*.

    Raises:
        UsageError: sums could leave the range in which they are exact, or levels that of their datatype.
    """
    steps: list[Step] = []
    channels = network.inputs[0].normal[-1]
    slide: SlidingWindow | None = None
    for index, layer in enumerate(network.layers):
        follows = network.layers[index + 1] if index + 1 < len(network.layers) else None
        if isinstance(layer, SlidingWindow):
            channels = layer.channels
            if _takes_in(follows, layer):
                slide = layer
            else:
                steps.append(Slide(layer, _windows_of(layer)))
        elif isinstance(layer, Thresholding):
            channels = layer.channels
            steps.append(Levels(layer, layer.vectors, channels, _ladder(layer, network)))
        elif isinstance(layer, Mvau):
            windows = _windows_of(slide) if slide else _regular(layer.vectors, layer.mw, channels)
            steps.append(_product(layer, network, slide, windows))
            channels, slide = layer.mh, None
        elif isinstance(layer, MaxPool):
            windows = (
                _windows_of(slide)
                if slide
                else _regular(layer.vectors, layer.kernel * layer.channels, layer.channels)
            )
            steps.append(Pool(layer, slide, windows))
            channels, slide = layer.channels, None
        elif isinstance(layer, Padding):
            channels = layer.channels
            steps.append(Pad(layer))
        else:
            channels = 1
            steps.append(Select(layer))
    return tuple(steps)


def _takes_in(layer: Layer | None, slide: SlidingWindow) -> bool:
    """Whether *layer* takes the windows one by one."""
    windows = _windows_of(slide)
    if isinstance(layer, Mvau):
        return (layer.vectors, layer.mw) == (windows.count, windows.kernel * slide.channels)
    if isinstance(layer, MaxPool):
        wanted = (windows.count, windows.kernel, slide.channels)
        return (layer.vectors, layer.kernel, layer.channels) == wanted
    return False


def _windows_of(layer: SlidingWindow) -> Windows:
    return Windows(
        layer.height,
        layer.width,
        layer.channels,
        layer.kernel_h,
        layer.kernel_w,
        layer.stride_h,
        layer.stride_w,
        layer.dilation_h,
        layer.dilation_w,
    )


def _regular(vectors: int, values: int, channels: int) -> Windows:
    """*vectors* times *values* in their order, in pixels of *channels* where that fits."""
    if values % channels:
        channels = values
    pixels = values // channels
    return Windows(1, vectors * pixels, channels, kernel_w=pixels, stride_w=pixels)


def _product(layer: Mvau, network: Network, slide: SlidingWindow | None, windows: Windows) -> Product:
    weights = network.weights(layer).astype(np.int64)
    if layer.xnor:
        low, high, largest = 0, layer.mw, layer.mw
    else:
        kind = parse_datatype(layer.input)
        largest = int(np.abs(weights).sum(axis=0).max()) * max(abs(kind.low), abs(kind.high))
        low, high = -largest, largest
    if largest >= EXACT:
        raise UsageError(
            f"the sums of {layer.name} reach {largest}, the golden model is exact up to 2^53",
            fix="use narrower weights or activations",
        )
    ladder = None
    if layer.steps:
        ladder = _make_ladder(layer, network, low, high)
    return Product(layer, slide, windows, ladder, weights, largest)


def _ladder(layer: Thresholding, network: Network) -> Ladder:
    kind = parse_datatype(layer.input)
    return _make_ladder(layer, network, kind.low, kind.high)


def _make_ladder(layer: Thresholding | Mvau, network: Network, low: int, high: int) -> Ladder:
    """Each threshold moved to the nearest one that decides alike for every integer from *low* to *high*."""
    thresholds = np.sort(np.clip(network.thresholds(layer), low, high + 1).astype(np.int64), axis=1)
    if (thresholds == thresholds[0]).all():
        thresholds = thresholds[:1]
    kind = parse_datatype(layer.output)
    offset, rise = (-1, 2) if kind.name == "BIPOLAR" else (layer.offset, 1)
    top = offset + rise * layer.steps
    if offset < kind.low or top > kind.high:
        raise UsageError(
            f"the levels of {layer.name} reach from {offset} to {top}, {kind.name} holds {kind.describe_range()}",
            fix="compile the network again: its layers contradict themselves",
        )
    return Ladder(kind, offset, rise, thresholds)
