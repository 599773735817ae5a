"""The golden model: what the accelerator must compute, bit by bit, for any number of frames.

It has two forms that give the same integers: compiled (numba, packed bits, all cores) and, where numba
cannot be imported, numpy's. A plan made from the network's layers (`fused_plan`) is what both run.

Source: the semantics are FINN's own Python execution, finn-plus 1.6.1 custom_op/fpgadataflow/
{thresholding,matrixvectoractivation,vectorvectoractivation,convolutioninputgenerator,fmpadding,pool,globalaccpool,
upsampler,labelselect}.py and qonnx 1.0.0 custom_op/general/{multithreshold,xnorpopcount,im2col}.py;
tests/host/golden/test_golden_finn.py, test_golden_convolutions.py and tests/host/flow/test_depthwise.py compare them.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from labd_host.dataflow.layers import Array, DataflowGraph
from labd_host.dataflow.network_file import read_network, write_network
from labd_host.golden.fused_plan import Accumulate, Depthwise, Pool, Product, Select, Step, make_plan
from labd_host.golden.plain import NumpyEngine, storage_of, take_windows
from labd_shared.errors import DatatypeError, ShapeError, UsageError
from labd_shared.tensors import Tensor, count

LEAST_SHARE = 4  # of what is computed at once: less is not worth a thread

Form = Literal["compiled", "numpy"]


class Engine(Protocol):
    """What runs a plan; from any number of threads at once."""

    chunk_frames: int

    def run(self, frames: Array, outputs: Array, logits: Array | None, /) -> None:
        """Compute at most *chunk_frames* frames (n, values) into *outputs* and *logits*, where wanted."""

    def trace(self, frames: Array, /) -> Iterator[tuple[Step, Array | None, Array]]:
        """For each step of the plan its sums, where thresholds follow them, and its values (n, ...)."""


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

    Nothing is compiled before the first run; then it takes seconds once, and is kept on disk.

    Args:
        network: Layers and their arrays.
        form: How it is computed; None for "compiled" where numba is, else "numpy".

    Raises:
        UsageError: a layer's sums could leave the range in which they are exact, or its levels that of
            their datatype.
    """

    def __init__(self, network: DataflowGraph, *, form: Form | None = None) -> None:
        self.network = network
        self._plan = make_plan(network)
        self._form = form
        self._lock = threading.Lock()
        self._made: Engine | None = None

    @classmethod
    def load(cls, path: str | Path, *, form: Form | None = None) -> "GoldenModel":
        """The model in a ``network.npz``.

        Raises:
            ArtifactError: the file is missing, damaged or of another version.
        """
        return cls(read_network(Path(path)), form=form)

    def save(self, path: str | Path) -> None:
        """Write the model as ``network.npz``; the same model gives the same bytes."""
        write_network(self.network, Path(path))

    def with_weights(self, weights: Mapping[str, Array], /) -> "GoldenModel":
        """The same network with other weights: layer -> (mw, mh).

        Raises:
            UsageError: as when it is made.
        """
        arrays = {f"{layer}.weights": values for layer, values in weights.items()}
        return GoldenModel(replace(self.network, arrays={**self.network.arrays, **arrays}), form=self._form)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in."""
        return self.network.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""
        return self.network.outputs

    def run(self, images: Array, *, intermediates: bool = False, threads: int | None = None) -> GoldenResult:
        """Compute *images*.

        Args:
            images: Integers (N, *normal[1:]) of the input tensor; other trailing axes with as
                many elements, (N, 28, 28, 1) for (1, 784), are taken in their order.
            intermediates: Keep what every layer gives.
            threads: How many compute at once; None for as many as this process has cores. The numpy
                form takes what BLAS takes instead.

        Raises:
            ShapeError: a frame does not hold as many values as the input tensor.
            DatatypeError: a value is no integer or out of the input's range.
            UsageError: less than one thread.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"the golden model was given {threads} threads", fix="pass 1 or more, or none")
        frames = _frames(images, self.inputs[0])
        engine = self._engine()
        if intermediates:
            return self._traced(engine, frames)
        workers = 1 if isinstance(engine, NumpyEngine) else threads or len(os.sched_getaffinity(0))
        values = count(self.outputs[0].normal)
        outputs = np.empty((len(frames), values), storage_of(self.outputs[0].datatype))
        scores = self.scores()
        logits = None if scores is None else np.empty((len(frames), scores), np.int64)

        def compute(part: slice) -> None:
            engine.run(frames[part], outputs[part], None if logits is None else logits[part])

        parts = _parts(len(frames), engine.chunk_frames, workers)
        if workers == 1 or len(parts) < 2:
            for part in parts:
                compute(part)
        else:
            with ThreadPoolExecutor(min(workers, len(parts))) as pool:
                list(pool.map(compute, parts))  # raises what a part raised
        return self._result(outputs, logits)

    def _traced(self, engine: Engine, frames: Array) -> GoldenResult:
        """The same, with what every layer gives."""
        number, last = len(frames), self._plan[-1]
        pieces: dict[str, list[Array]] = {}
        scores: list[Array] = []
        some = frames if number else np.zeros((1, *frames.shape[1:]), frames.dtype)
        for part in _parts(len(some), engine.chunk_frames, 1):
            before = some[part]
            for step, sums, values in engine.trace(some[part]):
                if isinstance(step, Product | Depthwise | Pool) and step.slide is not None:
                    windows = take_windows(before, step.windows).reshape(len(before), -1)
                    pieces.setdefault(step.slide.name, []).append(windows)
                if sums is not None:
                    pieces.setdefault(f"{step.layer.name}.accumulators", []).append(sums)
                pieces.setdefault(step.layer.name, []).append(values)
                if step is last:
                    scores.append(before)
                before = values
        found = {name: np.concatenate(values)[:number] for name, values in pieces.items()}
        logits: Array | None = None
        if isinstance(last, Select):
            logits = np.concatenate(scores)[:number].astype(np.int64)
        elif self.scores() is not None:
            logits = found[last.layer.name].astype(np.int64)
        outputs = found[last.layer.name].astype(storage_of(self.outputs[0].datatype))
        return self._result(outputs, logits, found)

    def _result(
        self, outputs: Array, logits: Array | None, intermediates: Mapping[str, Array] | None = None
    ) -> GoldenResult:
        tensor = self.outputs[0]
        shaped = outputs.reshape(tensor.batched(tensor.normal, len(outputs)))
        return GoldenResult((shaped,), logits, intermediates)

    def scores(self) -> int | None:
        """How many scores a frame has, where the network ends in scores or their label; else None."""
        last = self._plan[-1]
        if isinstance(last, Select):
            return last.layer.labels
        sums = isinstance(last, Accumulate) or (isinstance(last, Product | Depthwise) and last.ladder is None)
        return last.layer.out_values if sums else None

    def _engine(self) -> Engine:
        with self._lock:
            if self._made is None:
                self._made = self._make_engine()
            return self._made

    def _make_engine(self) -> Engine:
        if self._form != "numpy":
            try:
                from labd_host.golden.compiled import CompiledEngine
            except ImportError:  # no numba, or one that does not fit this numpy
                if self._form == "compiled":
                    raise
            else:
                source = self.inputs[0]
                return CompiledEngine(self._plan, count(source.normal), source.datatype)
        return NumpyEngine(self._plan)


def _parts(frames: int, most: int, workers: int) -> list[slice]:
    """Frames in parts of at most *most*, and of less where that keeps all *workers* busy."""
    size = min(most, max(-(-frames // workers), -(-most // LEAST_SHARE)))
    return [slice(start, start + size) for start in range(0, frames, size)]


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
