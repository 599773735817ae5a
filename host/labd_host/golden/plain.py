"""The golden model in numpy alone, for machines without numba.

Products go through numpy's floating-point matrix product, which is exact as long as no partial sum
leaves the range in which that type holds every integer (2^24 for float32, 2^53 for float64). Where two
sums fit into one float32 side by side, a column of the matrix holds two output channels: the first plus
*radix* times the second, which halves the work. BLAS uses the processor's cores as it is set up to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import Array
from labd_host.golden.fused_plan import (
    Accumulate,
    Depthwise,
    Ladder,
    Levels,
    Pad,
    Pool,
    Product,
    Repeat,
    Select,
    Slide,
    Step,
    Windows,
)
from labd_shared.datatypes import Datatype, parse_datatype

MOST_FRAMES = 1024  # computed at once
WORKING_BYTES = 1 << 20  # of a step's values, for the frames computed at once
OPERAND_BYTES = 2 << 20  # of a product's operand
FEW_STEPS = 15  # thresholds counted by comparing with each; more are searched for
TABLE = 1 << 16  # inputs for which the level is looked up
FLOAT32_EXACT = 1 << 24

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]


class _Prepared(Protocol):
    """A step made ready: gives its sums, where asked for and thresholds follow them, and its values."""

    def __call__(self, values: Array, *, keep_sums: bool) -> tuple[Array | None, Array]: ...


class NumpyEngine:
    """Runs a plan with numpy.

    Attributes:
        chunk_frames: Frames it computes at once, which bounds the memory.
    """

    def __init__(self, plan: Sequence[Step]) -> None:
        self._plan = plan
        self._steps: list[_Prepared] = [_PREPARE[type(step)](step) for step in plan]
        self.chunk_frames = max(1, min(MOST_FRAMES, WORKING_BYTES // max(map(_frame_bytes, plan))))

    def run(self, frames: Array, outputs: Array, logits: Array | None) -> None:
        """Compute at most *chunk_frames* frames (n, values) into *outputs* and *logits*, where wanted."""
        before = values = frames
        for step in self._steps:
            before = values
            values = step(values, keep_sums=False)[1]
        outputs[...] = values.reshape(outputs.shape)
        if logits is not None:
            logits[...] = (before if isinstance(self._plan[-1], Select) else values).reshape(logits.shape)

    def trace(self, frames: Array) -> Iterator[tuple[Step, Array | None, Array]]:
        """For each step of the plan its sums, where thresholds follow them, and its values (n, ...)."""
        values = frames
        for step, prepared in zip(self._plan, self._steps, strict=True):
            sums, values = prepared(values, keep_sums=True)
            flat = (len(frames), -1)
            yield step, None if sums is None else sums.reshape(flat), values.reshape(flat)


def _frame_bytes(step: Step) -> int:
    """What a step gives, for a frame, about: its windows are taken in parts."""
    sums = isinstance(step, Product | Depthwise) and not (step.ladder and step.ladder.is_bit)
    return step.layer.out_values * (8 if sums else 1)


# -- thresholds


def storage_of(kind: Datatype) -> type[np.integer[Any]]:
    """The smallest numpy type that holds every value of *kind*."""
    types: tuple[type[np.integer[Any]], ...] = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
    return next(each for each in types if np.iinfo(each).min <= kind.low and np.iinfo(each).max >= kind.high)


def _count(ladder: Ladder, values: npt.NDArray[Any]) -> Array:
    """The levels of *values* (..., channels)."""
    thresholds, storage = ladder.thresholds, storage_of(ladder.kind)
    if ladder.is_bit:
        # A plain number is compared in the type that the values have.
        return (values >= (thresholds[:, 0] if len(thresholds) > 1 else int(thresholds[0, 0]))).view(np.uint8)
    if ladder.steps <= FEW_STEPS:
        reached = np.zeros(values.shape, np.int32)
        for step in range(ladder.steps):
            reached += values >= thresholds[:, step]
    elif len(thresholds) == 1:
        reached = np.searchsorted(thresholds[0], values, "right").astype(np.int32)
    else:
        reached = np.empty(values.shape, np.int32)
        for channel, steps in enumerate(thresholds):
            reached[..., channel] = np.searchsorted(steps, values[..., channel], "right")
    levels: Array = (ladder.offset + ladder.rise * reached).astype(storage)
    return levels


def _table(step: Levels) -> Array | None:
    """The level of every input from the lowest on, where all channels have the same thresholds."""
    kind = parse_datatype(step.layer.input)
    if step.ladder.is_bit or len(step.ladder.thresholds) > 1 or kind.high - kind.low >= TABLE:
        return None
    return _count(step.ladder, np.arange(kind.low, kind.high + 1)[:, np.newaxis])[:, 0]


def _levels(step: Levels, table: Array | None, values: Array, *, keep_sums: bool) -> tuple[None, Array]:
    if table is not None:
        return None, table[values.astype(np.intp) - parse_datatype(step.layer.input).low]
    return None, _count(step.ladder, values.reshape(len(values), step.pixels, step.channels))


# -- products


@dataclass(frozen=True, eq=False)
class _Matrix:
    """The matrix of a product.

    Attributes:
        columns: (mw, mh), or (mw, mh / 2) with two channels in a column, neighbours.
        radix: What the second of them is multiplied with, a power of two; 0 where columns are single.
        low: The least sum of each channel, (mh,).
        constant: Added to a sum, (mh,).
        limits: Where a level is a bit, what a sum must reach, (mh,); for the second channels of a pair
            what the whole column must reach.
    """

    columns: Floats
    radix: int
    low: Integers
    constant: Integers
    limits: Integers

    def sums(self, operand: Floats) -> Integers:
        """The sums of rows of *operand*, (rows, mh)."""
        found = (operand @ self.columns).astype(np.int64)
        if self.radix:
            first = ((found - self.low[::2]) & (self.radix - 1)) + self.low[::2]
            found = np.stack([first, (found - first) // self.radix], axis=2).reshape(len(operand), -1)
        return found + self.constant

    def reached(self, operand: Floats) -> Array:
        """Which of them reach their limits, as bits (rows, mh)."""
        found = operand @ self.columns
        if not self.radix:
            return (found >= self.limits.astype(found.dtype)).view(np.uint8)
        pairs = np.empty((*found.shape, 2), np.bool_)
        np.greater_equal(found, self.limits[1::2].astype(np.float32), out=pairs[:, :, 1])
        whole = found.astype(np.int32)
        whole -= self.low[::2].astype(np.int32)
        whole &= self.radix - 1
        np.greater_equal(whole, (self.limits - self.low)[::2].astype(np.int32), out=pairs[:, :, 0])
        return pairs.reshape(len(operand), -1).view(np.uint8)


def _pack(step: Product) -> _Matrix:
    mh = step.layer.mh
    weights, constant = step.weights, np.zeros(mh, np.int64)
    kind = parse_datatype(step.layer.input)
    if step.layer.xnor:
        # Bits agree where both are 1 or both are 0: x*w + (1-x)*(1-w) = x*(2w-1) + (1-w).
        weights, constant = 2 * weights - 1, (1 - weights).sum(axis=0)
    ends = np.stack([weights * kind.low, weights * kind.high])
    low, high = ends.min(axis=0).sum(axis=0), ends.max(axis=0).sum(axis=0)
    limits = np.zeros(mh, np.int64)
    if step.ladder is not None and step.ladder.is_bit:
        limits = np.broadcast_to(step.ladder.thresholds[:, 0], (mh,)) - constant
    radix = 1 << int((high - low).max()).bit_length()
    if mh % 2 or step.largest * (1 + radix) >= FLOAT32_EXACT:
        exact = np.float32 if step.largest < FLOAT32_EXACT else np.float64
        return _Matrix(weights.astype(exact), 0, low, constant, limits)
    columns = weights[:, ::2] + radix * weights[:, 1::2]
    # Whatever the first channel of a pair adds lies between its least sum and that plus the radix.
    limits = np.where(np.arange(mh) % 2, radix * limits + np.roll(low, 1), limits)
    return _Matrix(columns.astype(np.float32), radix, low, constant, limits)


def _multiply(
    step: Product, matrix: _Matrix, values: Array, *, keep_sums: bool
) -> tuple[Array | None, Array]:
    windows = take_windows(values, step.windows)
    ladder, shape = step.ladder, (len(values), step.windows.count, step.layer.mh)
    if ladder is not None and ladder.is_bit and not keep_sums:
        bits = np.empty((*windows.shape[:3], step.layer.mh), np.uint8)
        for part in _parts(windows, matrix.columns.itemsize):
            bits[part] = matrix.reached(_operand(windows[part], matrix)).reshape(bits[part].shape)
        return None, bits.reshape(shape)
    sums = np.empty((*windows.shape[:3], step.layer.mh), np.int64)
    for part in _parts(windows, matrix.columns.itemsize):
        sums[part] = matrix.sums(_operand(windows[part], matrix)).reshape(sums[part].shape)
    sums = sums.reshape(shape)
    return (None, sums) if ladder is None else (sums, _count(ladder, sums))


def _operand(windows: Array, matrix: _Matrix) -> Floats:
    """Windows as the rows of a product; the order is given because they may overlap."""
    return windows.astype(matrix.columns.dtype, order="C").reshape(-1, len(matrix.columns))


def _parts(windows: Array, itemsize: int) -> Iterator[tuple[slice, slice]]:
    """Frames, or rows of a frame, whose windows a cache holds as an operand."""
    frames, rows = windows.shape[:2]
    row_bytes = windows[:1, :1].size * itemsize
    several = max(1, OPERAND_BYTES // (rows * row_bytes))
    some = max(1, OPERAND_BYTES // row_bytes) if several == 1 else rows
    for frame in range(0, frames, several):
        for row in range(0, rows, some):
            yield slice(frame, frame + several), slice(row, row + some)


def _multiply_channels(step: Depthwise, values: Array, *, keep_sums: bool) -> tuple[Array | None, Array]:
    windows = take_windows(values, step.windows)
    kind: type[np.integer[Any]] = np.int64 if step.largest >= 1 << 31 else np.int32
    sums = np.zeros((*windows.shape[:3], step.layer.channels), kind)
    rows, columns = windows.shape[3:5]
    for place, weights in enumerate(step.weights.astype(kind)):
        sums += windows[:, :, :, place // columns, place % columns].astype(kind) * weights
    sums = sums.reshape(len(values), step.windows.count, step.layer.channels)
    whole = sums.astype(np.int64)
    return (None, whole) if step.ladder is None else (whole, _count(step.ladder, whole))


# -- pools, windows, padding, repeated pixels, the label


def take_windows(values: Array, windows: Windows) -> Array:
    """The windows (n, out_height, out_width, kernel_h, kernel_w, channels), a view of *values* where possible."""
    maps = np.ascontiguousarray(values).reshape(len(values), windows.height, windows.width, windows.channels)
    frame, row, column, channel = maps.strides
    counts = (windows.out_height, windows.out_width, windows.kernel_h, windows.kernel_w)
    steps = (
        row * windows.stride_h,
        column * windows.stride_w,
        row * windows.dilation_h,
        column * windows.dilation_w,
    )
    return np.lib.stride_tricks.as_strided(
        maps, (len(maps), *counts, windows.channels), (frame, *steps, channel), writeable=False
    )


def _slide(windows: Windows, values: Array, *, keep_sums: bool) -> tuple[None, Array]:
    return None, take_windows(values, windows)


def _pool(windows: Windows, values: Array, *, keep_sums: bool) -> tuple[None, Array]:
    largest: Array = take_windows(values, windows).max(axis=(3, 4))
    return None, largest


def _accumulate(step: Accumulate, values: Array, *, keep_sums: bool) -> tuple[None, Array]:
    pixels = values.reshape(len(values), step.layer.pixels, step.layer.channels)
    sums: Array = pixels.sum(axis=1, dtype=np.int64)
    return None, sums


def _pad(step: Pad, values: Array, *, keep_sums: bool) -> tuple[None, Array]:
    layer = step.layer
    maps = values.reshape(len(values), layer.height, layer.width, layer.channels)
    return None, np.pad(maps, ((0, 0), (layer.top, layer.bottom), (layer.left, layer.right), (0, 0)))


def _repeat(step: Repeat, values: Array, *, keep_sums: bool) -> tuple[None, Array]:
    layer = step.layer
    maps = values.reshape(len(values), layer.height, layer.width, layer.channels)
    return None, maps.repeat(layer.scale_h, axis=1).repeat(layer.scale_w, axis=2)


def _select(values: Array, *, keep_sums: bool) -> tuple[None, Array]:
    return None, values.reshape(len(values), -1).argmax(axis=1)[:, np.newaxis]


_PREPARE: dict[type[Step], Callable[[Any], _Prepared]] = {
    Levels: lambda step: partial(_levels, step, _table(step)),
    Product: lambda step: partial(_multiply, step, _pack(step)),
    Depthwise: lambda step: partial(_multiply_channels, step),
    Pool: lambda step: partial(_pool, step.windows),
    Accumulate: lambda step: partial(_accumulate, step),
    Slide: lambda step: partial(_slide, step.windows),
    Pad: lambda step: partial(_pad, step),
    Repeat: lambda step: partial(_repeat, step),
    Select: lambda step: _select,
}
