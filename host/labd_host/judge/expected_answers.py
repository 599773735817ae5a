"""Answers that were expected of a network (FINN's input.npy and expected_output.npy), against its golden model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.golden.golden_model import GoldenModel
from labd_shared.answers import predicted_classes
from labd_shared.errors import ArtifactError, GoldenMismatch
from labd_shared.tensors import Tensor, count

MAX_BYTES = 1 << 28
FULL_SCALE = 255
_FIX = "write it with numpy.save: inputs with the batch first, and a class or the scores of each"

Numbers = npt.NDArray[Any]


def check_answers(golden: GoldenModel, inputs: Path, expected: Path) -> int:
    """Compare the classes that *golden* answers to *inputs* with those in *expected*; how many there are.

    Args:
        golden: The network.
        inputs: A .npy of frames, batch first: whole values, or pixels divided by 255; channels first or last.
        expected: A .npy of classes, or of scores, of which the highest is taken, of equal ones the first.

    Raises:
        ArtifactError: a file cannot be read, or its shape does not fit the network.
        GoldenMismatch: a class is another; the first is named.
    """
    frames = _whole(_load(inputs), inputs, golden.inputs[0])
    answers = _load(expected)
    if not len(frames) or len(answers) != len(frames):
        raise ArtifactError(f"{inputs} has {len(frames)} frames, {expected} {len(answers)} answers", fix=_FIX)
    found = predicted_classes(golden.run(frames).outputs[0])
    wanted = _classes(answers, expected)
    wrong = np.flatnonzero(found != wanted)
    if wrong.size:
        first = int(wrong[0])
        raise GoldenMismatch(
            f"{wrong.size} of {len(frames)} answers differ from {expected}, first that to frame {first}: "
            f"{int(found[first])} where {int(wanted[first])} was expected",
            fix="run the export itself on these inputs: labd evaluate MODEL.onnx",
        )
    return len(frames)


def _load(path: Path) -> Numbers:
    """The one array in *path*, mapped: its header cannot claim more than the file holds."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{path} has more than {MAX_BYTES} bytes", fix="keep fewer frames in it")
        found = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", fix=_FIX) from error
    if found.dtype.kind not in "buif" or not found.ndim:
        raise ArtifactError(f"{path} does not hold an array of numbers", fix=_FIX)
    if not np.isfinite(found).all():
        raise ArtifactError(f"{path} holds values that are not finite", fix=_FIX)
    return found


def _whole(values: Numbers, path: Path, tensor: Tensor) -> Numbers:
    """*values* as the integers of *tensor*, each frame in its layout."""
    shape = tensor.normal[1:]
    if values.ndim == 4 and len(shape) == 3 and values.shape[1:] == (shape[2], *shape[:2]):
        values = values.transpose(0, 2, 3, 1)  # FINN's frames have their channels first
    if values.ndim < 2 or count(values.shape[1:]) != count(shape):
        raise ArtifactError(f"{path} has frames of {values.shape[1:]}, the network takes {shape}", fix=_FIX)
    whole = np.rint(values)
    if values.dtype.kind == "f" and tensor.datatype.name == "UINT8" and not np.array_equal(whole, values):
        scaled = values * FULL_SCALE
        whole = np.rint(scaled)
        values = whole if np.abs(whole - scaled).max(initial=0) < 0.01 else values
    low, high = tensor.datatype.low, tensor.datatype.high
    if not np.array_equal(whole, values) or whole.min(initial=low) < low or whole.max(initial=low) > high:
        raise ArtifactError(
            f"{path} has values from {values.min():g} to {values.max():g}, the network takes {tensor.datatype.name}",
            fix="save the frames as the accelerator is given them: whole values",
        )
    return np.ascontiguousarray(whole).astype(np.int64).reshape(len(whole), *shape)


def _classes(answers: Numbers, path: Path) -> Numbers:
    classes = predicted_classes(answers) if answers.ndim > 1 else answers
    if not np.array_equal(classes, np.rint(classes)):
        raise ArtifactError(f"{path} holds one number a frame, and not a class", fix=_FIX)
    return classes
