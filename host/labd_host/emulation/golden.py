"""The golden model: what the accelerator must compute, bit by bit, for any number of frames.

Every sum is an integer. Products go through the floating-point matrix product of numpy, which is
exact as long as no partial sum leaves the range in which that type holds every integer (2^24 for
float32, 2^53 for float64); a layer that could leave it is refused, not rounded.

A convolution is a sliding window and a matrix product, as FINN has it. The window is a view of the
feature map, which is copied once, into the product's operand; frames are computed in chunks small
enough for that copy.

Source: the semantics are FINN's own Python execution, finn-plus 1.6.1 custom_op/fpgadataflow/
{thresholding,matrixvectoractivation,convolutioninputgenerator,fmpadding,pool,labelselect}.py and qonnx
1.0.0 custom_op/general/{multithreshold,xnorpopcount,im2col}.py; tests/host/test_golden_finn.py and
test_golden_convolutions.py compare them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.emulation.golden_layers import (
    Array,
    LabelSelect,
    Layer,
    MaxPool,
    Mvau,
    Network,
    Padding,
    SlidingWindow,
    Thresholding,
)
from labd_host.emulation.network_file import read_network, write_network
from labd_shared.datatypes import Datatype, parse_datatype
from labd_shared.errors import DatatypeError, ShapeError, UsageError
from labd_shared.tensors import Tensor, count

CHUNK_FRAMES = 1024  # frames computed at once, at most
CHUNK_BYTES = 12 << 20  # of a layer's values, for the frames computed at once: bounds the memory
FEW_STEPS = 15  # thresholds counted by comparing with each; more are searched for
TABLE_VALUES = 1 << 16  # inputs for which the count is looked up

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class GoldenResult:
    """What a batch of N frames gives.

    Attributes:
        outputs: The accelerator's outputs, each (N, *normal[1:]).
        logits: The scores the label was chosen from, (N, classes) int64; None for a network
            whose output is neither scores nor a label.
        intermediates: Only on request: layer name -> its output (N, values), and
            "<layer>.accumulators" of a layer that thresholds its sums; in the order of the stream.
    """

    outputs: tuple[Array, ...]
    logits: Array | None
    intermediates: Mapping[str, Array] | None = field(default=None, repr=False)


class GoldenModel:
    """A dataflow network that runs on this machine.

    Args:
        network: Layers and their arrays.

    Raises:
        UsageError: a layer's sums could leave the range in which they are exact.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._steps = [_prepare(layer, network) for layer in network.layers]
        largest = max(step.frame_bytes for step in self._steps)
        self._chunk_frames = max(1, min(CHUNK_FRAMES, CHUNK_BYTES // largest))

    @classmethod
    def load(cls, path: str | Path) -> "GoldenModel":
        """The model in a ``network.npz``.

        Raises:
            ArtifactError: the file is missing, damaged or of another version.
        """
        return cls(read_network(Path(path)))

    def save(self, path: str | Path) -> None:
        """Write the model as ``network.npz``; the same model gives the same bytes."""
        write_network(self.network, Path(path))

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in."""
        return self.network.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""
        return self.network.outputs

    def run(self, images: Array, *, intermediates: bool = False) -> GoldenResult:
        """Compute *images*.

        Args:
            images: Integers (N, *normal[1:]) of the input tensor; other trailing axes with as
                many elements, (N, 28, 28, 1) for (1, 784), are taken in their order.
            intermediates: Keep what every layer gives.

        Raises:
            ShapeError: a frame does not hold as many values as the input tensor.
            DatatypeError: a value is no integer or out of the input's range.
        """
        frames = _frames(images, self.inputs[0])
        pieces: dict[str, list[Array]] = {}
        last: list[Array] = []
        logits: list[Array] = []
        for start in range(0, max(len(frames), 1), self._chunk_frames):
            values: Array = frames[start : start + self._chunk_frames]
            for step in self._steps:
                if isinstance(step.layer, LabelSelect):
                    logits.append(values.reshape(len(values), step.layer.in_values))
                values, sums = step.run(values, keep_sums=intermediates)
                if intermediates:
                    flat = (len(values), step.layer.out_values)
                    if sums is not None:
                        pieces.setdefault(f"{step.layer.name}.accumulators", []).append(sums.reshape(flat))
                    pieces.setdefault(step.layer.name, []).append(values.reshape(flat))
            last.append(values.reshape(len(values), self.network.layers[-1].out_values))
        final = self.network.layers[-1]
        if isinstance(final, Mvau) and final.steps == 0:
            logits = last
        tensor = self.outputs[0]
        output = np.concatenate(last).reshape(tensor.batched(tensor.normal, len(frames)))
        return GoldenResult(
            outputs=(output.astype(_storage(tensor.datatype)),),
            logits=np.concatenate(logits) if logits else None,
            intermediates={key: np.concatenate(value) for key, value in pieces.items()}
            if intermediates
            else None,
        )


def _frames(images: Array, tensor: Tensor) -> Array:
    """*images* as (N, values), checked."""
    values = count(tensor.normal)
    if images.ndim < 2 or count(images.shape[1:]) != values:
        raise ShapeError(
            f"the images are {images.shape}, the network takes (N, {', '.join(map(str, tensor.normal[1:]))})",
            fix="pass whole images of the network's data set, batch first",
        )
    kind = tensor.datatype
    if not np.issubdtype(images.dtype, np.integer):
        raise DatatypeError(
            f"the images are {images.dtype}, the network takes integers ({kind.name})",
            fix="pass the raw pixels as uint8",
        )
    within = np.iinfo(images.dtype)
    if images.size and (within.min < kind.low or within.max > kind.high):
        low, high = int(images.min()), int(images.max())
        if low < kind.low or high > kind.high:
            raise DatatypeError(
                f"the images reach from {low} to {high}, {kind.name} holds {kind.describe_range()}",
                fix="pass the raw pixels, not scaled ones",
            )
    return images.reshape(len(images), values)


def _storage(kind: Datatype) -> type[np.integer[Any]]:
    """The smallest numpy type that holds every value of *kind*."""
    types: tuple[type[np.integer[Any]], ...] = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
    return next(each for each in types if np.iinfo(each).min <= kind.low and np.iinfo(each).max >= kind.high)


@dataclass(frozen=True, eq=False)
class _Reach:
    """Counts how many thresholds a value reaches.

    Attributes:
        kind: Datatype of the levels.
        offset: Added to the count.
        thresholds: (1 or channels, steps), ascending, of the type of what is compared.
        table: The level of every input from *low* on, where all channels have the same thresholds.
    """

    kind: Datatype
    offset: int
    thresholds: npt.NDArray[Any]
    table: Array | None = None
    low: int = 0

    def levels(self, values: npt.NDArray[Any]) -> Array:
        """The levels of *values* (..., channels)."""
        if self.table is not None:
            return self.table[values.astype(np.intp) - self.low]
        rows, steps = self.thresholds.shape
        storage = _storage(self.kind)
        if steps == 1 and self.offset == 0 and self.kind.name == "BINARY":
            return (values >= self.thresholds[:, 0]).view(np.uint8)
        if steps <= FEW_STEPS:
            reached = np.zeros(values.shape, np.uint8)
            for step in range(steps):
                reached += values >= self.thresholds[:, step]
            return self._level(reached.astype(np.int32)).astype(storage)
        if rows == 1:
            return self._level(np.searchsorted(self.thresholds[0], values, "right")).astype(storage)
        out = np.empty(values.shape, storage)
        for channel, ladder in enumerate(self.thresholds):
            found = np.searchsorted(ladder, values[..., channel], "right")
            out[..., channel] = self._level(found).astype(storage)
        return out

    def _level(self, reached: npt.NDArray[Any]) -> Array:
        level: Array = 2 * reached - 1 if self.kind.name == "BIPOLAR" else reached + self.offset
        return level


@dataclass(frozen=True, eq=False)
class _Step:
    """A layer made ready to run."""

    layer: Layer
    reach: _Reach | None = None
    matrix: Floats | None = None
    constant: Array | None = None

    @property
    def frame_bytes(self) -> int:
        """What running it takes for one frame, about: a byte a value, and the operand and result of a product."""
        layer = self.layer
        size = 1 if self.matrix is None else self.matrix.itemsize
        return (layer.in_values + layer.out_values) * size

    def run(self, values: Array, *, keep_sums: bool) -> tuple[Array, Array | None]:
        """The layer's output (n, ...) and, where thresholds follow them and *keep_sums*, its sums."""
        layer = self.layer
        if isinstance(layer, LabelSelect):
            scores = values.reshape(len(values), layer.labels)
            return scores.argmax(axis=1)[:, np.newaxis].astype(np.int64), None
        if isinstance(layer, SlidingWindow):
            return _windows(values, layer), None
        if isinstance(layer, Padding):
            maps = values.reshape(len(values), layer.height, layer.width, layer.channels)
            frame = ((0, 0), (layer.top, layer.bottom), (layer.left, layer.right), (0, 0))
            return np.pad(maps, frame), None
        if isinstance(layer, MaxPool):
            windows = values.reshape(len(values), layer.vectors, layer.kernel, layer.channels)
            largest: Array = windows.max(axis=2)
            return largest, None
        if isinstance(layer, Thresholding):
            return self._levels(values.reshape(len(values), layer.vectors, layer.channels)), None
        return self._multiply(values, layer, keep_sums=keep_sums)

    def _multiply(self, values: Array, layer: Mvau, *, keep_sums: bool) -> tuple[Array, Array | None]:
        if self.matrix is None or self.constant is None:
            raise UsageError(f"{layer.name} was prepared without its matrix")
        # The order is given because the values may be a view of overlapping windows.
        operand = values.astype(self.matrix.dtype, order="C").reshape(-1, layer.mw)
        product = (operand @ self.matrix).reshape(len(values), layer.vectors, layer.mh)
        if layer.steps == 0:
            return product.astype(np.int64) + self.constant, None
        sums = product.astype(np.int64) + self.constant if keep_sums else None
        return self._levels(product), sums

    def _levels(self, values: npt.NDArray[Any]) -> Array:
        if self.reach is None:
            raise UsageError(f"{self.layer.name} was prepared without its thresholds")
        return self.reach.levels(values)


def _windows(values: Array, layer: SlidingWindow) -> Array:
    """The windows (n, out_height, out_width, kernel_h, kernel_w, channels), a view of *values* where possible."""
    maps = np.ascontiguousarray(values).reshape(len(values), layer.height, layer.width, layer.channels)
    frame, row, column, channel = maps.strides
    return np.lib.stride_tricks.as_strided(
        maps,
        shape=(
            len(maps),
            layer.out_height,
            layer.out_width,
            layer.kernel_h,
            layer.kernel_w,
            layer.channels,
        ),
        strides=(
            frame,
            row * layer.stride_h,
            column * layer.stride_w,
            row * layer.dilation_h,
            column * layer.dilation_w,
            channel,
        ),
        writeable=False,
    )


def _prepare(layer: Layer, network: Network) -> _Step:
    if isinstance(layer, Thresholding):
        return _Step(layer, reach=_prepare_thresholding(layer, network))
    if not isinstance(layer, Mvau):
        return _Step(layer)
    weights = network.weights(layer).astype(np.int64)
    if layer.xnor:
        # Bits agree where both are 1 or both are 0: x*w + (1-x)*(1-w) = x*(2w-1) + (1-w).
        matrix, constant = 2 * weights - 1, (1 - weights).sum(axis=0)
        low, high = 0, layer.mw
        largest = layer.mw
    else:
        kind = parse_datatype(layer.input)
        matrix, constant = weights, np.zeros(layer.mh, dtype=np.int64)
        largest = int(np.abs(weights).sum(axis=0).max()) * max(abs(kind.low), abs(kind.high))
        low, high = -largest, largest
    exact = _exact_float(layer, largest)
    reach = None
    if layer.steps:
        # The constant is taken off the thresholds instead of added to every sum.
        thresholds = _within(network.thresholds(layer), low, high) - constant[:, np.newaxis]
        reach = _Reach(parse_datatype(layer.output), layer.offset, thresholds.astype(exact))
    return _Step(layer, reach, matrix.astype(exact), constant)


def _prepare_thresholding(layer: Thresholding, network: Network) -> _Reach:
    kind = parse_datatype(layer.input)
    thresholds = _within(network.thresholds(layer), kind.low, kind.high)
    if (thresholds == thresholds[0]).all():
        thresholds = thresholds[:1]
    reach = _Reach(parse_datatype(layer.output), layer.offset, thresholds)
    if len(thresholds) > 1 or kind.high - kind.low >= TABLE_VALUES:
        return reach
    every = np.arange(kind.low, kind.high + 1)
    return _Reach(reach.kind, reach.offset, thresholds, reach.levels(every[:, np.newaxis])[:, 0], kind.low)


def _exact_float(layer: Mvau, largest: int) -> type[np.floating[Any]]:
    if largest < 1 << 24:  # thresholds reach one further
        return np.float32
    if largest < 1 << 53:
        return np.float64
    raise UsageError(
        f"the sums of {layer.name} reach {largest}, the golden model is exact up to 2^53",
        fix="use narrower weights or activations",
    )


def _within(thresholds: Array, low: int, high: int) -> Array:
    """*thresholds* ascending, each moved to the nearest value that decides alike for every integer in low..high."""
    return np.sort(np.clip(thresholds, low, high + 1).astype(np.int64), axis=1)
