"""What a golden model answers to a whole test split, computed once and kept in the user's cache.

An entry is named by the digest of the network's arithmetic, the images and labd's code: whoever asks for the same
gets the same. `labd validate` computes them every time.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.flow.stage_records import code_sha256
from labd_host.golden.golden_model import GoldenModel
from labd_host.machine import places
from labd_shared.arrays import load_npz, save_npz
from labd_shared.digest import bytes_sha256, json_sha256
from labd_shared.errors import LabdError
from labd_shared.files import replacing

MAX_ENTRY_BYTES = 1 << 20  # a class for each of 100,000 images and more; scores of many classes are not kept
MAX_ENTRIES = 100
OUTPUTS = "outputs"


def kept_outputs(model: GoldenModel, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.integer[Any]]:
    """The outputs of *model* for *images*, (n, ...), as `GoldenModel.run` gives them.

    Args:
        model: The golden model.
        images: uint8 (n, ...), frames of its input.
    """
    digest = json_sha256(
        [model.network.arithmetic_sha256, list(images.shape), bytes_sha256(images.tobytes()), code_sha256()]
    )
    entry = places.cache() / "answers" / f"{digest}.npz"
    with contextlib.suppress(LabdError):  # absent or damaged: computed again
        found = load_npz(entry, MAX_ENTRY_BYTES).get(OUTPUTS)
        if found is not None and len(found) == len(images):
            return found
    outputs: npt.NDArray[np.integer[Any]] = model.run(images).outputs[0]
    if outputs.nbytes <= MAX_ENTRY_BYTES // 2:
        _keep(entry, outputs)
    return outputs


def _keep(entry: Path, outputs: npt.NDArray[np.integer[Any]]) -> None:
    """Write the entry, and remove the oldest ones; nothing is said where that cannot be."""
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        with replacing(entry) as making:
            save_npz(making, {OUTPUTS: outputs})
        by_age = sorted(entry.parent.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in by_age[:-MAX_ENTRIES]:
            old.unlink(missing_ok=True)
