"""What a dataflow network computes, step by step, as both forms of the golden model run it.

A sliding window and the product (dense or depthwise) or the pool behind it are one step, so that no window
is ever copied out of its feature map. Thresholds are integers that lie within what is compared with them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import (
    DataflowGraph,
    GlobalPool,
    LabelSelect,
    Layer,
    MaxPool,
    Mvau,
    Padding,
    SlidingWindow,
    Thresholding,
    Upsample,
    Vvau,
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


@dataclass(frozen=True, eq=False)
class Depthwise:
    """Windows times weights of each channel's own, and thresholds where there is a ladder.

    Attributes:
        layer: The layer.
        slide: The layer whose windows these are; None where the values come as they are.
        weights: (kernel, channels).
        largest: No partial sum is further from 0.
    """

    layer: Vvau
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
class Accumulate:
    """The sum of each channel over all pixels."""

    layer: GlobalPool


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
class Repeat:
    """Each pixel of a feature map several times."""

    layer: Upsample


@dataclass(frozen=True)
class Select:
    """The index of the largest score."""

    layer: LabelSelect


Step = Levels | Product | Depthwise | Pool | Accumulate | Slide | Pad | Repeat | Select


def make_plan(network: DataflowGraph) -> tuple[Step, ...]:
    """The steps of *network*.

    Raises:
        UsageError: sums could leave the range in which they are exact, or levels that of their datatype.
    """
    plan = _Plan(network)
    for index, layer in enumerate(network.layers):
        follows = network.layers[index + 1] if index + 1 < len(network.layers) else None
        _PLANNERS[type(layer)](plan, layer, follows)
    return tuple(plan.steps)


class _Plan:
    """The steps so far.

    Attributes:
        network: Whose.
        steps: So far.
        channels: Values of a pixel of what the last of them gives.
        slide: Windows that the next layer takes in; None where the values come as they are.
    """

    def __init__(self, network: DataflowGraph) -> None:
        self.network = network
        self.steps: list[Step] = []
        self.channels = network.inputs[0].normal[-1]
        self.slide: SlidingWindow | None = None

    def add(self, step: Step, channels: int) -> None:
        """*step*, which gives pixels of *channels* values."""
        self.steps.append(step)
        self.channels, self.slide = channels, None

    def windows(self, vectors: int, values: int, channels: int) -> Windows:
        """Those of the slide, or *vectors* times *values* in pixels of *channels*."""
        return _windows_of(self.slide) if self.slide else _regular(vectors, values, channels)


def _plan_window(plan: _Plan, layer: SlidingWindow, follows: Layer | None) -> None:
    windows = _windows_of(layer)
    takes_in = _TAKES_IN.get(type(follows)) if follows is not None else None
    if takes_in is not None and takes_in(follows, layer, windows):
        plan.channels, plan.slide = layer.channels, layer
    else:
        plan.add(Slide(layer, windows), layer.channels)


def _plan_thresholding(plan: _Plan, layer: Thresholding, follows: Layer | None) -> None:
    levels = Levels(layer, layer.vectors, layer.channels, _ladder(layer, plan.network))
    plan.add(levels, layer.channels)


def _plan_mvau(plan: _Plan, layer: Mvau, follows: Layer | None) -> None:
    windows = plan.windows(layer.vectors, layer.mw, plan.channels)
    plan.add(_product(layer, plan.network, plan.slide, windows), layer.mh)


def _plan_vvau(plan: _Plan, layer: Vvau, follows: Layer | None) -> None:
    windows = plan.windows(layer.vectors, layer.kernel * layer.channels, layer.channels)
    weights = plan.network.weights(layer).astype(np.int64)
    largest = _largest(layer, weights)
    ladder = _make_ladder(layer, plan.network, -largest, largest) if layer.steps else None
    plan.add(Depthwise(layer, plan.slide, windows, ladder, weights, largest), layer.channels)


def _plan_pool(plan: _Plan, layer: MaxPool, follows: Layer | None) -> None:
    windows = plan.windows(layer.vectors, layer.kernel * layer.channels, layer.channels)
    plan.add(Pool(layer, plan.slide, windows), layer.channels)


def _plan_global_pool(plan: _Plan, layer: GlobalPool, follows: Layer | None) -> None:
    sums = parse_datatype(layer.output)
    largest = max(abs(sums.low), sums.high)
    if largest >= EXACT:
        raise _inexact(layer, largest)
    plan.add(Accumulate(layer), layer.channels)


def _plan_padding(plan: _Plan, layer: Padding, follows: Layer | None) -> None:
    plan.add(Pad(layer), layer.channels)


def _plan_upsample(plan: _Plan, layer: Upsample, follows: Layer | None) -> None:
    plan.add(Repeat(layer), layer.channels)


def _plan_label(plan: _Plan, layer: LabelSelect, follows: Layer | None) -> None:
    plan.add(Select(layer), 1)


_PLANNERS: dict[type[Layer], Callable[[_Plan, Any, Layer | None], None]] = {
    SlidingWindow: _plan_window,
    Thresholding: _plan_thresholding,
    Mvau: _plan_mvau,
    Vvau: _plan_vvau,
    MaxPool: _plan_pool,
    GlobalPool: _plan_global_pool,
    Padding: _plan_padding,
    Upsample: _plan_upsample,
    LabelSelect: _plan_label,
}
# Of kinds that take windows one by one: whether *layer* takes those of a slide.
_TAKES_IN: dict[type[Layer], Callable[[Any, SlidingWindow, Windows], bool]] = {
    Mvau: lambda layer, slide, windows: (
        (layer.vectors, layer.mw) == (windows.count, windows.kernel * slide.channels)
    ),
    **dict.fromkeys(
        (Vvau, MaxPool),
        lambda layer, slide, windows: (
            (layer.vectors, layer.kernel, layer.channels) == (windows.count, windows.kernel, slide.channels)
        ),
    ),
}


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


def _product(layer: Mvau, network: DataflowGraph, slide: SlidingWindow | None, windows: Windows) -> Product:
    weights = network.weights(layer).astype(np.int64)
    if layer.xnor:
        low, high, largest = 0, layer.mw, layer.mw
    else:
        largest = _largest(layer, weights)
        low, high = -largest, largest
    ladder = None
    if layer.steps:
        ladder = _make_ladder(layer, network, low, high)
    return Product(layer, slide, windows, ladder, weights, largest)


def _largest(layer: Mvau | Vvau, weights: Integers) -> int:
    """The largest sum of products of *layer*'s input with *weights*, (values, sums).

    Raises:
        UsageError: it is not exact.
    """
    kind = parse_datatype(layer.input)
    largest = int(np.abs(weights).sum(axis=0).max()) * max(abs(kind.low), abs(kind.high))
    if largest >= EXACT:
        raise _inexact(layer, largest)
    return largest


def _inexact(layer: Layer, largest: int) -> UsageError:
    return UsageError(
        f"the sums of {layer.name} reach {largest}, the golden model is exact up to 2^53",
        fix="use narrower weights or activations",
    )


def _ladder(layer: Thresholding, network: DataflowGraph) -> Ladder:
    kind = parse_datatype(layer.input)
    return _make_ladder(layer, network, kind.low, kind.high)


def _make_ladder(layer: Thresholding | Mvau | Vvau, network: DataflowGraph, low: int, high: int) -> Ladder:
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
