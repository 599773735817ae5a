"""A user's own frames as a data set: an .npz of arrays, or a folder with a sub-folder for each class.

They have what `labd_shared.datasets.PackedDataset` has, so that validate needs to know nothing of it.
"""

from pathlib import Path
from typing import Callable, Dict, Optional

import numpy as np

from labd_shared.dataset_table import DatasetSpec
from labd_shared.frame_form import frame_form
from labd_shared.manifest import Manifest
from labd_shared.own_arrays import OwnFrames, read_own_arrays
from labd_shared.own_folders import read_own_folder
from labd_shared.tensors import count

ARRAYS, FOLDER = "npz:", "dir:"


class OwnData(object):
    """Frames with labels, all in memory; see `PackedDataset` for the attributes."""

    def __init__(self, name: str, frames: OwnFrames) -> None:
        shape = frames.images.shape[1:]
        self.name, self.split = name, "own"
        self.spec = DatasetSpec(name, shape, frames.class_names, (), datatype=frames.datatype.name)
        self.labels = frames.labels
        self.count = len(frames.labels)
        self.dtype = frames.images.dtype
        self.frame_values = count(shape)
        self.coarse: Optional[np.ndarray] = None
        self.digests: Dict[str, str] = {name: frames.digest}
        self.notes = frames.notes
        self._images = frames.images

    def __enter__(self) -> "OwnData":
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is open."""

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Fill *out*, ``(n, ...)`` of `dtype`, or of bytes as many, with the frames from *start* on."""
        part = self._images[start : start + len(out)]
        np.copyto(out, np.ascontiguousarray(part).view(out.dtype).reshape(out.shape))


def own_data(name: str, manifest: Manifest, say: Callable[[str], None]) -> Optional[OwnData]:
    """The data set *name* where it is ``npz:PATH`` or ``dir:PATH``, else None; *say* is told what was done to it.

    Raises:
        As of `labd_shared.own_arrays.read_own_arrays` and `labd_shared.own_folders.read_own_folder`.
    """
    kind, path = name[: len(ARRAYS)], Path(name[len(ARRAYS) :]).expanduser()
    if kind not in (ARRAYS, FOLDER):
        return None
    read = read_own_arrays if kind == ARRAYS else read_own_folder
    form = frame_form(manifest)
    frames = read(path, form, form.class_names)
    for note in frames.notes:
        say(note)
    return OwnData(kind + path.name, frames)
