"""A user's own images as a data set: an .npz of arrays, or a folder with a sub-folder for each class.

They have what `labd_shared.datasets.PackedDataset` has, so that validate needs to know nothing of it.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from labd_board.pictures import ImageShape, image_shape, read_picture
from labd_shared.arrays import load_npz
from labd_shared.dataset_table import DatasetSpec
from labd_shared.digest import file_sha256, json_sha256
from labd_shared.errors import DataDamaged, DataMissing, unknown_name
from labd_shared.manifest import Manifest
from labd_shared.picture_files import ENDINGS
from labd_shared.tensors import count

ARRAYS, FOLDER = "npz:", "dir:"
MAX_ARRAYS_BYTES = 128 << 20  # all of it is in memory, on a board of 512 MB


class OwnData(ABC):
    """Images with labels; see `PackedDataset` for the attributes."""

    def __init__(
        self, name: str, shape: ImageShape, class_names: Sequence[str], labels: np.ndarray, digest: str
    ) -> None:
        self.name, self.split = name, "own"
        self.spec = DatasetSpec(name, shape, tuple(class_names), ())
        self.labels = labels
        self.count = len(labels)
        self.frame_bytes = count(shape)
        self.coarse: Optional[np.ndarray] = None
        self.digests: Dict[str, str] = {name: digest}

    def __enter__(self) -> "OwnData":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 (not a hook: none of them has anything open)
        """Nothing is open."""

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Fill *out*, uint8 ``(n, ...)``, with the images from *start* on."""
        for place in range(len(out)):
            out[place] = self._image(start + place).reshape(out.shape[1:])

    @abstractmethod
    def _image(self, index: int) -> np.ndarray:
        """One image, uint8, of the data set's shape."""


class OwnArrays(OwnData):
    """``npz:PATH``: images uint8 ``(n, ...)`` and labels ``(n,)``."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Read and check the file.

        Raises:
            DataMissing: there is none.
            ArtifactError, DataDamaged: it does not hold images and labels that fit the network.
        """
        if not path.is_file():
            raise DataMissing("there is no {}".format(path), fix="--dataset npz:FILE with images and labels")
        arrays = load_npz(path, MAX_ARRAYS_BYTES)
        again = "save it with numpy.savez(FILE, images=..., labels=...), pixels 0 to 255 as uint8"
        for key in ("images", "labels"):
            if key not in arrays:
                raise DataDamaged(
                    "{} has no array {}; it has: {}".format(
                        path, key, ", ".join(sorted(arrays)) or "nothing"
                    ),
                    fix=again,
                )
        images, labels = arrays["images"], arrays["labels"]
        wanted = count(manifest.inputs[0].normal)
        if (
            images.dtype != np.uint8
            or images.ndim < 2
            or count(images.shape[1:]) != wanted
            or not len(images)
        ):
            raise DataDamaged(
                "{}: images are {} {}, {} takes uint8 (n, ...) of {} values".format(
                    path, images.dtype, images.shape, manifest.network, wanted
                ),
                fix=again,
            )
        if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
            raise DataDamaged(
                "{}: labels are {} {}, there are {} images".format(
                    path, labels.dtype, labels.shape, len(images)
                ),
                fix=again,
            )
        names = _class_names(manifest, int(labels.max()))
        if labels.min() < 0 or int(labels.max()) >= len(names):
            raise DataDamaged(
                "{}: labels are {} to {}, the network has {} classes".format(
                    path, labels.min(), labels.max(), len(names)
                ),
                fix=again,
            )
        super(OwnArrays, self).__init__(
            ARRAYS + path.name, (1, 1, wanted), names, labels.astype(np.int64), file_sha256(path)
        )
        self._images: np.ndarray = images

    def _image(self, index: int) -> np.ndarray:
        image: np.ndarray = self._images[index]
        return image


class OwnFolder(OwnData):
    """``dir:PATH``: a folder with a sub-folder of pictures for each class, read one by one."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """List the pictures; the sub-folders bear the names of classes, or their numbers.

        Raises:
            DataMissing: no such folder, or no pictures in it.
            UnknownName: a sub-folder bears the name of no class.
            ShapeError: the bundle does not say which pictures the network takes.
        """
        folders = sorted(each for each in path.iterdir() if each.is_dir()) if path.is_dir() else []
        names = _class_names(manifest, 0)
        self._files: List[Path] = []
        labels: List[int] = []
        for folder in folders:
            inside = sorted(each for each in folder.iterdir() if each.suffix.lower() in ENDINGS)
            self._files += inside
            labels += [_label(folder.name, names)] * len(inside)
        if not self._files:
            raise DataMissing(
                "{} has no sub-folders with pictures ({})".format(path, ", ".join(ENDINGS)),
                fix="put the pictures of each class into {}/CLASS, for example {}/{}".format(
                    path, path, names[0]
                ),
            )
        listing = [[str(each), each.stat().st_size, int(each.stat().st_mtime)] for each in self._files]
        self._shape = image_shape(manifest)
        super(OwnFolder, self).__init__(
            FOLDER + path.name, self._shape, names, np.array(labels), json_sha256(listing)
        )

    def _image(self, index: int) -> np.ndarray:
        return read_picture(self._files[index], self._shape)


def own_data(name: str, manifest: Manifest) -> Optional[OwnData]:
    """The data set *name* where it is ``npz:PATH`` or ``dir:PATH``, else None; errors as of the classes above."""
    if name.startswith(ARRAYS):
        return OwnArrays(Path(name[len(ARRAYS) :]).expanduser(), manifest)
    if name.startswith(FOLDER):
        return OwnFolder(Path(name[len(FOLDER) :]).expanduser(), manifest)
    return None


def _class_names(manifest: Manifest, largest: int) -> List[str]:
    """The bundle's class names; numbers up to *largest* where it has none."""
    return list(manifest.class_names) or [str(label) for label in range(largest + 1)]


def _label(folder: str, names: List[str]) -> int:
    if folder in names:
        return names.index(folder)
    if folder.isdigit() and int(folder) < len(names):
        return int(folder)
    raise unknown_name("class", folder, names, fix="call the sub-folder by a class's name or number")
