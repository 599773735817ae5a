"""The golden model: what the accelerator must compute, bit by bit, for any number of frames.

Every sum is an integer. Products go through the floating-point matrix product of numpy, which is
exact as long as no partial sum leaves the range in which that type holds every integer (2^24 for
float32, 2^53 for float64); a layer that could leave it is refused, not rounded.

Source: the semantics are FINN's own Python execution, finn-plus 1.6.1
custom_op/fpgadataflow/{thresholding,matrixvectoractivation,labelselect}.py and qonnx 1.0.0
custom_op/general/{multithreshold,xnorpopcount}.py; tests/host/test_golden_finn.py compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.emulation.golden_layers import Array, LabelSelect, Layer, Mvau, Network, Thresholding
from labd_host.emulation.network_file import read_network, write_network
from labd_shared.datatypes import Datatype, parse_datatype
from labd_shared.errors import DatatypeError, ShapeError, UsageError
from labd_shared.tensors import Tensor, count

CHUNK_FRAMES = 1024  # frames computed at once: bounds memory, and what one chunk needs stays in cache

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
        for start in range(0, max(len(frames), 1), CHUNK_FRAMES):
            values: Array = frames[start : start + CHUNK_FRAMES]
            for step in self._steps:
                if isinstance(step.layer, LabelSelect):
                    logits.append(values)
                values, sums = step.run(values)
                if intermediates:
                    if sums is not None:
                        pieces.setdefault(f"{step.layer.name}.accumulators", []).append(sums)
                    pieces.setdefault(step.layer.name, []).append(values)
            last.append(values)
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
class _Step:
    """A layer made ready to run."""

    layer: Layer
    thresholds: Array | None = None
    matrix: Floats | None = None
    constant: Array | None = None

    def run(self, values: Array) -> tuple[Array, Array | None]:
        """The layer's output (n, out_values) and, where thresholds follow them, its sums."""
        layer = self.layer
        if isinstance(layer, LabelSelect):
            return values.argmax(axis=1, keepdims=True).astype(np.int64), None
        vectors = values.reshape(len(values), layer.vectors, layer.in_values // layer.vectors)
        flat = (len(values), layer.out_values)
        if isinstance(layer, Thresholding):
            return self._reach(vectors, layer).reshape(flat), None
        sums = self._multiply(vectors)
        if self.thresholds is None:
            return sums.reshape(flat), None
        return self._reach(sums, layer).reshape(flat), sums.reshape(flat)

    def _multiply(self, vectors: Array) -> Array:
        if self.matrix is None or self.constant is None:
            raise UsageError(f"{self.layer.name} was prepared without its matrix")
        product = vectors.astype(self.matrix.dtype) @ self.matrix
        return product.astype(np.int64) + self.constant

    def _reach(self, values: Array, layer: Mvau | Thresholding) -> Array:
        """How many thresholds each value reaches, in the layer's output datatype."""
        if self.thresholds is None:
            raise UsageError(f"{layer.name} was prepared without its thresholds")
        reached = np.zeros(values.shape, dtype=np.int32)
        for step in range(layer.steps):
            reached += values >= self.thresholds[:, step]
        kind = parse_datatype(layer.output)
        level = 2 * reached - 1 if kind.name == "BIPOLAR" else reached + layer.offset
        return level.astype(_storage(kind))


def _prepare(layer: Layer, network: Network) -> _Step:
    if isinstance(layer, LabelSelect):
        return _Step(layer)
    if isinstance(layer, Thresholding):
        kind = parse_datatype(layer.input)
        return _Step(layer, thresholds=_within(network.thresholds(layer), kind.low, kind.high))
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
    thresholds = _within(network.thresholds(layer), low, high) if layer.steps else None
    return _Step(layer, thresholds, matrix.astype(_exact_float(layer, largest)), constant)


def _exact_float(layer: Mvau, largest: int) -> type[np.floating[Any]]:
    if largest <= 1 << 24:
        return np.float32
    if largest <= 1 << 53:
        return np.float64
    raise UsageError(
        f"the sums of {layer.name} reach {largest}, the golden model is exact up to 2^53",
        fix="use narrower weights or activations",
    )


def _within(thresholds: Array, low: int, high: int) -> Array:
    """*thresholds* moved to the nearest value that decides alike for every integer in low..high."""
    return np.clip(thresholds, low, high + 1).astype(np.int64)
