"""The golden model compiled: bits packed in words, windows read where they lie, a few frames at a time.

A product of bits counts agreeing bits: xor with the inverted weights, and popcount. Other products
multiply 16-bit values in pairs and add in 32 bits, or in 64 where the sums ask for it. Thresholds are
compared with the sums in registers where a level is a bit, so the sums never reach the memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from labd_host.dataflow.layers import Array
from labd_host.golden import kernels
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
from labd_host.golden.maps import Entries, Map, bits_map, plain_map, round_up
from labd_host.golden.vectors import LANES, ROWS
from labd_shared.datatypes import Datatype, parse_datatype

WORKING_BYTES = 1 << 20  # of the maps before and after a step, for the frames computed at once
MOST_FRAMES = 1024  # computed at once
MOST_INT32 = (1 << 31) - 2  # thresholds reach one further
TABLE = 1 << 16  # values of an input for which the level is looked up


Run = Callable[[Entries, Entries, int], None]


@dataclass(frozen=True, eq=False)
class Operation:
    """One pass over a map.

    Attributes:
        target: The map it writes.
        prepare: Given the most frames there will be, makes what computes some frames: from the entries
            of the map before into those of *target*.
        gives: What *target* holds: the "values" of the plan's next step, its "sums", or nothing that
            the plan knows.
        sums: Of a product that compares its sums and forgets them: the same, with the sums as target.
    """

    target: Map
    prepare: Callable[[int], Run]
    gives: str = ""
    sums: "Operation | None" = None


class CompiledEngine:
    """Runs a plan with the kernels of `kernels`; from any number of threads at once.

    Attributes:
        chunk_frames: Frames it computes at once, so that they stay in a core's cache.
    """

    def __init__(self, plan: Sequence[Step], values: int, kind: Datatype) -> None:
        """Compile *plan*, whose frames have *values* of *kind*."""
        self._plan = plan
        self._input = _input_map(plan, values, kind)
        self._operations = _operations(plan, self._input)
        maps = [self._input, *(operation.target for operation in self._operations)]
        most = max(ours.frame_bytes + theirs.frame_bytes for ours, theirs in pairwise(maps))
        self.chunk_frames = max(1, min(MOST_FRAMES, WORKING_BYTES // most))
        self._maps = maps
        self._runs = [operation.prepare(self.chunk_frames) for operation in self._operations]
        self._idle: list[list[Entries]] = []

    def run(self, frames: Array, outputs: Array, logits: Array | None) -> None:
        """Compute at most *chunk_frames* frames (n, values) into *outputs* and *logits*, where wanted."""
        entries = self._entries()
        number = len(frames)
        self._fill(entries[0], frames)
        for run, source, target in zip(self._runs, entries, entries[1:], strict=False):
            run(source, target, number)
        outputs[...] = self._maps[-1].values(entries[-1], number)
        if logits is not None:
            last = -2 if isinstance(self._plan[-1], Select) else -1
            logits[...] = self._maps[last].values(entries[last], number)
        self._idle.append(entries)

    def trace(self, frames: Array) -> Iterator[tuple[Step, Array | None, Array]]:
        """For each step of the plan its sums, where thresholds follow them, and its values (n, ...)."""
        entries = self._entries()
        number = len(frames)
        self._fill(entries[0], frames)
        steps = iter(self._plan)
        sums: Array | None = None
        for index, (operation, run) in enumerate(zip(self._operations, self._runs, strict=True)):
            source, target = entries[index : index + 2]
            if operation.sums is not None:
                beside = operation.sums.target.allocate(self.chunk_frames)
                operation.sums.prepare(self.chunk_frames)(source, beside, number)
                sums = operation.sums.target.values(beside, number)
            run(source, target, number)
            if operation.gives == "sums":
                sums = operation.target.values(target, number).copy()
            elif operation.gives == "values":
                yield next(steps), sums, operation.target.values(target, number).copy()
                sums = None

    def _entries(self) -> list[Entries]:
        """Memory for all maps, that of an earlier run where one has ended."""
        try:
            return self._idle.pop()
        except IndexError:
            return [each.allocate(self.chunk_frames) for each in self._maps]

    def _fill(self, entries: Entries, frames: Array) -> None:
        whole = self._input.view(entries, len(frames)).reshape(frames.shape)
        np.copyto(whole, frames, casting="unsafe")  # the values are checked


def _input_map(plan: Sequence[Step], values: int, kind: Datatype) -> Map:
    if isinstance(plan[0], Levels) and kind.low >= 0 and kind.high < 1 << 8:
        return Map(values, 1, np.dtype(np.uint8), 1)
    return plain_map(values, 1, kind)


def _operations(plan: Sequence[Step], source: Map) -> list[Operation]:
    found: list[Operation] = []
    for step in plan:
        for operation in _OPERATIONS[type(step)](step, source):
            found.append(operation)
            source = operation.target
    return found


# -- from one way to lie to another


def _unpacked(source: Map) -> Operation:
    target = plain_map(source.pixels, source.channels, parse_datatype("BINARY"))

    def run(x: Entries, out: Entries, frames: int) -> None:
        kernels.unpack(x, frames * source.pixels, source.channels, source.width, out)

    return Operation(target, lambda _: run)


def _as_plain(source: Map) -> Iterator[Operation]:
    """What it takes to have *source* as 16-bit or 64-bit values without gaps; nothing where it is so."""
    if source.bits:
        yield _unpacked(source)
    elif source.width != source.channels or source.dtype not in (np.int16, np.int64):
        target = Map(source.pixels, source.channels, np.dtype(np.int64), source.channels)

        def run(x: Entries, out: Entries, frames: int) -> None:
            target.view(out, frames)[...] = source.view(x, frames)[:, :, : source.channels]

        yield Operation(target, lambda _: run)


def _regrouped(source: Map, channels: int) -> Map:
    """Values without gaps, seen as pixels of *channels*."""
    return Map(source.pixels * source.channels // channels, channels, source.dtype, channels)


def _as_bits(source: Map, channels: int) -> Iterator[Operation]:
    """What it takes to have *source*, which holds zeros and ones, as pixels of *channels* bits."""
    if source.bits and source.channels == channels:
        return
    for operation in _as_plain(source):
        yield operation
        source = operation.target
    yield _reaches(_regrouped(source, channels), np.ones((1, 1), np.int64))


# -- thresholds


def _levels(step: Levels, source: Map) -> Iterator[Operation]:
    if source.bits or (source.channels != step.channels and source.width != source.channels):
        for operation in _as_plain(source):
            yield operation
            source = operation.target
    if source.channels != step.channels:
        source = _regrouped(source, step.channels)
    kind = parse_datatype(step.layer.input)
    if step.ladder.is_bit:
        yield _reaches(source, step.ladder.thresholds, gives="values")
    elif len(step.ladder.thresholds) == 1 and kind.high - kind.low < TABLE and source.dtype.itemsize <= 2:
        yield _looked_up(source, step.ladder, kind)
    else:
        yield _counted(source, step.ladder)


def _limits(source: Map, thresholds: Entries) -> Entries:
    """*thresholds* in a type that they can be compared with the values of *source* in."""
    dtype = np.dtype(np.int16) if source.dtype == np.uint8 else source.dtype
    return np.minimum(thresholds, np.iinfo(dtype).max).astype(dtype)


def _reaches(source: Map, thresholds: Entries, gives: str = "") -> Operation:
    target = bits_map(source.pixels, source.channels)
    never = np.iinfo(np.int16 if source.dtype == np.uint8 else source.dtype).max
    wanted = np.full(target.width * LANES, never, np.int64)
    wanted[: source.channels] = thresholds[:, 0]
    limits = _limits(source, wanted)

    def run(x: Entries, out: Entries, frames: int) -> None:
        kernels.reaches(x, frames * source.pixels, source.width, limits, out, target.width)

    return Operation(target, lambda _: run, gives)


def _looked_up(source: Map, ladder: Ladder, kind: Datatype) -> Operation:
    target = plain_map(source.pixels, source.channels, ladder.kind)
    reached = np.searchsorted(ladder.thresholds[0], np.arange(kind.low, kind.high + 1), "right")
    table = (ladder.offset + ladder.rise * reached).astype(target.dtype)

    def run(x: Entries, out: Entries, frames: int) -> None:
        kernels.look_up(x, frames * source.pixels * source.width, kind.low, table, out)

    return Operation(target, lambda _: run, "values")


def _counted(source: Map, ladder: Ladder) -> Operation:
    target = plain_map(source.pixels, source.channels, ladder.kind)
    steps = np.broadcast_to(ladder.thresholds, (source.channels, ladder.steps)).T
    limits = np.ascontiguousarray(_limits(source, steps))

    def run(x: Entries, out: Entries, frames: int) -> None:
        kernels.count_reached(
            x, frames * source.pixels, source.width, limits, ladder.offset, ladder.rise, out
        )

    return Operation(target, lambda _: run, "values")


# -- products


def _product(step: Product, source: Map) -> Iterator[Operation]:
    if step.layer.xnor:
        for operation in _as_bits(source, step.windows.channels):
            yield operation
            source = operation.target
        yield from _thresholded(step, source, *_bit_words(step))
        return
    for operation in _as_plain(source):
        yield operation
        source = operation.target
    small = step.largest <= MOST_INT32 and np.abs(step.weights).max(initial=0) < 1 << 15
    if small and source.dtype == np.int16:
        yield from _thresholded(step, source, *_pair_words(step))
    else:
        yield from _wide_product(step, source)


def _bit_words(step: Product) -> tuple[Entries, Entries]:
    """Where the words of a window of bits lie, in bytes, and the inverted weights (words, mh)."""
    windows = step.windows
    width = round_up(windows.channels, LANES) // LANES
    inverted = np.zeros((windows.kernel, width * LANES, step.layer.mh), np.uint8)
    inverted[:, : windows.channels] = 1 - step.weights.reshape(windows.kernel, windows.channels, -1)
    packed = np.packbits(inverted.transpose(0, 2, 1), axis=2, bitorder="little")
    words = np.ascontiguousarray(packed).view("<i4").transpose(0, 2, 1).reshape(-1, step.layer.mh)
    offsets = windows.offsets()[:, np.newaxis] * width + np.arange(width)
    return 4 * offsets.reshape(-1), words


def _pair_words(step: Product) -> tuple[Entries, Entries]:
    """The same for 16-bit values in pairs: neighbours in the map, the last of an odd row with weight 0."""
    windows = step.windows
    together = windows.kernel_w if windows.dilation_w == 1 else 1
    runs = windows.offsets()[::together]
    length = together * windows.channels
    pairs = np.zeros((len(runs), round_up(length, 2), step.layer.mh), np.int16)
    pairs[:, :length] = step.weights.reshape(len(runs), length, -1)
    halves = pairs.reshape(-1, 2, step.layer.mh).transpose(0, 2, 1)
    words = np.ascontiguousarray(halves.astype("<i2")).view("<i4")[:, :, 0]
    offsets = runs[:, np.newaxis] * windows.channels + np.arange(0, length, 2)
    return 2 * offsets.reshape(-1), words


def _thresholded(step: Product, source: Map, offsets: Entries, words: Entries) -> Iterator[Operation]:
    """A product of 32-bit words, and its levels where thresholds follow."""
    mh, ladder = step.layer.mh, step.ladder
    blocks = round_up(mh, LANES) // LANES
    weights = np.zeros((len(words), blocks * LANES), np.int32)
    weights[:, :mh] = words
    weights = np.ascontiguousarray(weights.reshape(-1, blocks, LANES).transpose(1, 0, 2))
    offsets = offsets.astype(np.int32)
    pixels, xnor = step.windows.count, step.layer.xnor
    pixel = source.dtype.itemsize * (source.width if source.bits else step.windows.channels)

    def operation(target: Map, kernel: Any, rest: tuple[Any, ...], gives: str) -> Operation:
        def prepare(most: int) -> Run:
            starts = _starts(step.windows, most, pixel)

            def run(x: Entries, out: Entries, frames: int) -> None:
                kernel(xnor, x, starts, frames * pixels, offsets, weights, *rest, out)

            return run

        return Operation(target, prepare, gives)

    sums_map = Map(pixels, mh, np.dtype(np.int32), blocks * LANES)
    sums = operation(sums_map, kernels.product_sums, (sums_map.width,), "sums")
    if ladder is None:
        yield replace(sums, gives="values")
    elif ladder.is_bit:
        thresholds = np.full(blocks * LANES, np.iinfo(np.int32).max, np.int32)
        thresholds[:mh] = ladder.thresholds[:, 0]
        bits = bits_map(pixels, mh)
        rest = (thresholds.reshape(blocks, LANES), bits.width)
        yield replace(operation(bits, kernels.product_reaches, rest, "values"), sums=sums)
    else:
        yield sums
        yield _counted(sums_map, ladder)


def _wide_product(step: Product, source: Map) -> Iterator[Operation]:
    windows, mh = step.windows, step.layer.mh
    target = Map(windows.count, mh, np.dtype(np.int64), mh)
    each = np.arange(windows.channels)
    offsets = (windows.offsets()[:, np.newaxis] * windows.channels + each).reshape(-1).astype(np.int32)

    def prepare(most: int) -> Run:
        starts = _starts(windows, most, windows.channels)

        def run(x: Entries, out: Entries, frames: int) -> None:
            kernels.wide_product_sums(x, starts, frames * windows.count, offsets, step.weights, out, mh)

        return run

    sums = Operation(target, prepare, "values" if step.ladder is None else "sums")
    yield sums
    if step.ladder is not None:
        bit = step.ladder.is_bit
        yield _reaches(target, step.ladder.thresholds, "values") if bit else _counted(target, step.ladder)


def _depthwise(step: Depthwise, source: Map) -> Iterator[Operation]:
    """A product of each channel with its own weights, and its levels where thresholds follow."""
    for operation in _as_plain(source):
        yield operation
        source = operation.target
    windows, channels, ladder = step.windows, step.layer.channels, step.ladder
    small = step.largest <= MOST_INT32 and source.dtype == np.int16
    target = Map(windows.count, channels, np.dtype(np.int32 if small else np.int64), channels)
    weights = step.weights.astype(target.dtype)
    offsets = (windows.offsets() * channels).astype(np.int32)

    def prepare(most: int) -> Run:
        starts = _starts(windows, most, channels)

        def run(x: Entries, out: Entries, frames: int) -> None:
            kernels.depthwise_sums(x, starts, frames * windows.count, offsets, weights, out)

        return run

    yield Operation(target, prepare, "values" if ladder is None else "sums")
    if ladder is not None:
        yield _reaches(target, ladder.thresholds, "values") if ladder.is_bit else _counted(target, ladder)


def _starts(windows: Windows, frames: int, pixel: int) -> Entries:
    """Where each window of each frame begins, in units of which a pixel has *pixel*; whole groups of ROWS."""
    first = np.arange(frames)[:, np.newaxis] * windows.pixels
    starts = ((first + windows.starts()) * pixel).reshape(-1)
    return np.pad(starts, (0, -len(starts) % ROWS), mode="edge").astype(np.int32)


# -- pools, windows, padding, repeated pixels, the label


def _moved(step: Pool | Slide | Pad | Repeat, source: Map) -> Iterator[Operation]:
    """A step that moves or chooses values of a feature map."""
    channels = step.layer.channels
    if not source.bits or source.channels != channels:
        for operation in _as_plain(source):
            yield operation
            source = operation.target
        source = _regrouped(source, channels)
    yield _MOVES[type(step)](step, source)


def _pool(step: Pool, source: Map) -> Operation:
    kernel = kernels.pool_bits if source.bits else kernels.pool_values
    return _over_windows(step.windows, source, kernel, step.windows.count)


def _slide(step: Slide, source: Map) -> Operation:
    return _over_windows(step.windows, source, kernels.slide, step.windows.count * step.windows.kernel)


def _over_windows(windows: Windows, source: Map, kernel: Any, pixels: int) -> Operation:
    """*kernel* for each window; *pixels* come out."""
    offsets = (windows.offsets() * source.width).astype(np.int32)

    def prepare(most: int) -> Run:
        starts = _starts(windows, most, source.width)

        def run(x: Entries, out: Entries, frames: int) -> None:
            kernel(x, starts, frames * windows.count, offsets, source.width, out)

        return run

    return Operation(replace(source, pixels=pixels), prepare, "values")


def _accumulate(step: Accumulate, source: Map) -> Iterator[Operation]:
    for operation in _as_plain(source):
        yield operation
        source = operation.target
    pixels, channels = step.layer.pixels, step.layer.channels
    target = plain_map(1, channels, parse_datatype(step.layer.output))

    def run(x: Entries, out: Entries, frames: int) -> None:
        kernels.add_pixels(x, frames, pixels, channels, out)

    yield Operation(target, lambda _: run, "values")


def _pad(step: Pad, source: Map) -> Operation:
    layer = step.layer
    target = replace(source, pixels=layer.out_height * layer.out_width)
    rows, columns = slice(layer.top, layer.top + layer.height), slice(layer.left, layer.left + layer.width)

    def run(x: Entries, out: Entries, frames: int) -> None:
        grown = target.view(out, frames).reshape(frames, layer.out_height, layer.out_width, source.width)
        grown[:, rows, columns] = x[: frames * source.pixels * source.width].reshape(
            frames, layer.height, layer.width, source.width
        )

    return Operation(target, lambda _: run, "values")


def _repeat(step: Repeat, source: Map) -> Operation:
    layer = step.layer
    target = replace(source, pixels=layer.out_pixels)
    rows, columns = (layer.height, layer.scale_h), (layer.width, layer.scale_w)

    def run(x: Entries, out: Entries, frames: int) -> None:
        grown = target.view(out, frames).reshape(frames, *rows, *columns, source.width)
        grown[...] = source.view(x, frames).reshape(frames, layer.height, 1, layer.width, 1, source.width)

    return Operation(target, lambda _: run, "values")


def _select(step: Select, source: Map) -> Iterator[Operation]:
    if source.bits:
        yield (unpacked := _unpacked(source))
        source = unpacked.target

    def run(x: Entries, out: Entries, frames: int) -> None:
        scores = source.view(x, frames).reshape(frames, -1)
        np.argmax(scores[:, : source.pixels * source.channels], axis=1, out=out[:frames])

    yield Operation(Map(1, 1, np.dtype(np.int64), 1), lambda _: run, "values")


_MOVES: dict[type[Step], Callable[[Any, Map], Operation]] = {
    Pool: _pool,
    Slide: _slide,
    Pad: _pad,
    Repeat: _repeat,
}
# What computes a step from the map before it; the last operation gives its values.
_OPERATIONS: dict[type[Step], Callable[[Any, Map], Iterator[Operation]]] = {
    Levels: _levels,
    Product: _product,
    Depthwise: _depthwise,
    **dict.fromkeys(_MOVES, _moved),
    Accumulate: _accumulate,
    Select: _select,
}
