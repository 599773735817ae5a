"""Data sets in their official files, and packed for streaming.

The official files are read once (`read_official`), checked by structure, and written as a packed
folder (`write_packed`): raw uint8 images, uint8 labels and an index with their digests. The board
streams from it (`PackedDataset`) straight into its batch buffer; nothing else is held in memory.

Source: http://yann.lecun.com/exdb/mnist (idx format; the page is dead, the format is described in
every mirror's README).
"""

import gzip
import io
import json
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Dict, NamedTuple, Tuple, Union

import numpy as np

from labd_shared.digest import bytes_sha256, file_sha256
from labd_shared.errors import DataDamaged, DataMissing, ShapeError, unknown_name
from labd_shared.tensors import count

PACKED_FORMAT = "labd-packed-dataset"
PACKED_VERSION = 1
INDEX_NAME, IMAGES_NAME, LABELS_NAME = "index.json", "images.u8", "labels.u8"
SPLITS = ("train", "test")


class DatasetSpec(NamedTuple):
    """What a data set is.

    Attributes:
        name: "mnist".
        image_shape: Height, width, channels.
        class_names: By label.
        files: By split: file names of the official form.
    """

    name: str
    image_shape: Tuple[int, int, int]
    class_names: Tuple[str, ...]
    files: Dict[str, Tuple[str, ...]]


DATASETS = {
    "mnist": DatasetSpec(
        "mnist",
        (28, 28, 1),
        tuple(str(digit) for digit in range(10)),
        {
            "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
            "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        },
    ),
}


def dataset_spec(name: str) -> DatasetSpec:
    """The data set called *name*.

    Raises:
        UnknownName: there is none.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    return DATASETS[name]


def official_files(folder: Union[str, Path], name: str, split: str) -> Tuple[Path, ...]:
    """The official files of a split in *folder*; each may also lie there unpacked, without ".gz".

    Raises:
        UnknownName: no such data set or split.
        DataMissing: a file is not there.
    """
    spec = dataset_spec(name)
    if split not in spec.files:
        raise unknown_name("split of " + name, split, spec.files)
    found = []
    for file_name in spec.files[split]:
        packed = Path(folder) / file_name
        plain = packed.with_suffix("")
        if not packed.is_file() and not plain.is_file():
            raise DataMissing(
                "{} is not in {}".format(file_name, folder),
                fix="put {} there, or set LABD_DATASETS to a folder that has {}/{}".format(
                    " and ".join(spec.files[split]), name, file_name
                ),
            )
        found.append(packed if packed.is_file() else plain)
    return tuple(found)


def read_official(folder: Union[str, Path], name: str, split: str) -> Tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``(n, height, width, channels)`` and labels uint8 ``(n,)`` of a split.

    Raises:
        UnknownName: no such data set or split.
        DataMissing: a file is not in *folder*.
        DataDamaged: a file does not have the format's structure.
    """
    spec = dataset_spec(name)
    image_file, label_file = official_files(folder, name, split)
    images = _read_idx(image_file, 3).reshape((-1,) + spec.image_shape)
    labels = _read_idx(label_file, 1)
    if len(images) != len(labels):
        raise DataDamaged(
            "{} holds {} images and {} {} labels".format(
                image_file.name, len(images), label_file.name, len(labels)
            ),
            fix="fetch both files again",
        )
    if len(labels) and int(labels.max()) >= len(spec.class_names):
        raise DataDamaged(
            "{} holds label {}, {} has {} classes".format(
                label_file.name, int(labels.max()), name, len(spec.class_names)
            ),
            fix="fetch the file again",
        )
    return images, labels


MAX_IDX_BYTES = 256 << 20


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """A uint8 idx array with *axes* axes; bounded, so that a bomb of a .gz ends early."""
    try:
        with gzip.open(str(path)) if path.suffix == ".gz" else io.open(str(path), "rb") as handle:
            head = handle.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes((0, 0, 8, axes)):
                raise DataDamaged(
                    "{} is no idx file of bytes with {} axes: it begins with {}".format(
                        path.name, axes, head[:4].hex() or "nothing"
                    ),
                    fix="fetch the file again",
                )
            shape = struct.unpack(">{}I".format(axes), head[4:])
            if axes == 3 and shape[1:] != (28, 28):
                raise DataDamaged(
                    "{} holds images of {}, not 28 x 28".format(path.name, shape[1:]), fix="fetch it again"
                )
            if count(shape) > MAX_IDX_BYTES:
                raise DataDamaged("{} claims {} bytes".format(path.name, count(shape)), fix="fetch it again")
            data = handle.read(count(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataDamaged(
            "{} cannot be read: {}".format(path.name, error), fix="fetch the file again"
        ) from error
    if len(data) != count(shape):
        raise DataDamaged(
            "{} holds {} bytes, its header says {}".format(path.name, len(data), count(shape)),
            fix="fetch the file again",
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def packed_folder(root: Union[str, Path], name: str, split: str) -> Path:
    """Where a packed split lies under a data folder."""
    return Path(root) / name / split


def write_packed(
    root: Union[str, Path], name: str, split: str, images: np.ndarray, labels: np.ndarray
) -> Path:
    """Write a packed split under *root*, atomically; returns its folder.

    Args:
        root: The data folder.
        name, split: Of the data set.
        images: uint8 ``(n, height, width, channels)``.
        labels: uint8 ``(n,)``.
    """
    spec = dataset_spec(name)
    if (
        images.dtype != np.uint8
        or images.shape != (len(labels),) + spec.image_shape
        or labels.dtype != np.uint8
    ):
        raise ShapeError(
            "{} images {} and labels {} {} do not fit {}".format(
                images.dtype, images.shape, labels.dtype, labels.shape, name
            ),
            fix="uint8 images of shape (n, {}, {}, {}) and uint8 labels".format(*spec.image_shape),
        )
    target = packed_folder(root, name, split)
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=split + ".", dir=str(target.parent)))
    try:
        index = {
            "format": PACKED_FORMAT,
            "version": PACKED_VERSION,
            "name": name,
            "split": split,
            "count": len(labels),
            "image_shape": list(spec.image_shape),
            "sha256": {},
        }  # type: Dict[str, object]
        digests = {}
        for file_name, array in ((IMAGES_NAME, images), (LABELS_NAME, labels)):
            data = np.ascontiguousarray(array).tobytes()
            (making / file_name).write_bytes(data)
            digests[file_name] = bytes_sha256(data)
        index["sha256"] = digests
        (making / INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
        making.chmod(0o755)
        _replace_folder(making, target)
    finally:
        shutil.rmtree(str(making), ignore_errors=True)
    return target


def _replace_folder(source: Path, target: Path) -> None:
    """Put *source* in *target*'s place; whoever has the old one open keeps reading it."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=target.name + ".old.", dir=str(target.parent)))
        target.rename(old / "was")
        source.rename(target)
        shutil.rmtree(str(old), ignore_errors=True)
    else:
        source.rename(target)


class PackedDataset(object):
    """A packed split, streamed.

    Attributes:
        name, split: Of the data set.
        spec: Its description.
        count: Number of images.
        labels: uint8 ``(count,)``.
    """

    def __init__(self, folder: Union[str, Path]) -> None:
        """Open the packed split in *folder*: reads the index and the labels, not the images.

        Raises:
            DataMissing: nothing packed is there.
            DataDamaged: index and files disagree.
        """
        self.folder = Path(folder)
        if not (self.folder / INDEX_NAME).is_file():
            raise DataMissing(
                "no packed data set in {}".format(folder), fix="from the host: fab data --board NN"
            )
        again = "remove {} and push it again: fab data --board NN".format(folder)
        try:
            index = json.loads((self.folder / INDEX_NAME).read_text())
            if (index["format"], index["version"]) != (PACKED_FORMAT, PACKED_VERSION):
                raise DataDamaged("{} is of version {}".format(folder, index["version"]), fix=again)
            self.name, self.split, self.count = str(index["name"]), str(index["split"]), int(index["count"])
            self.digests = {str(key): str(value) for key, value in index["sha256"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataDamaged(
                "the index in {} cannot be read: {!r}".format(folder, error), fix=again
            ) from error
        self.spec = dataset_spec(self.name)
        self.frame_bytes = count(self.spec.image_shape)
        for file_name, size in ((IMAGES_NAME, self.count * self.frame_bytes), (LABELS_NAME, self.count)):
            found = (self.folder / file_name).stat().st_size if (self.folder / file_name).is_file() else -1
            if found != size:
                raise DataDamaged(
                    "{} in {} has {} bytes, the index says {}".format(file_name, folder, found, size),
                    fix=again,
                )
        self.labels = np.fromfile(str(self.folder / LABELS_NAME), np.uint8)
        self._images = io.FileIO(str(self.folder / IMAGES_NAME))

    def __enter__(self) -> "PackedDataset":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the image file. Twice is harmless."""
        self._images.close()

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Fill *out*, contiguous uint8 ``(n, ...)`` with one image a row, from image *start* on.

        Raises:
            ShapeError: *out* does not hold whole images, or reaches past the end.
            DataDamaged: the file ended early.
        """
        if out.dtype != np.uint8 or not out.flags.c_contiguous or count(out.shape[1:]) != self.frame_bytes:
            raise ShapeError(
                "a buffer {} {} cannot take images of {} bytes".format(
                    out.dtype, out.shape, self.frame_bytes
                ),
                fix="the network's input and the data set's images differ in size: choose another --dataset",
            )
        if start < 0 or start + len(out) > self.count:
            raise ShapeError(
                "images {} to {} were asked for, {} has {}".format(
                    start, start + len(out), self.name, self.count
                ),
                fix="ask for images inside the set",
            )
        self._images.seek(start * self.frame_bytes)
        view = memoryview(out.reshape(-1).data)
        done = 0
        while done < len(view):
            got = self._images.readinto(view[done:])
            if not got:
                raise DataDamaged(
                    "{} ended early".format(self.folder / IMAGES_NAME), fix="push the data set again"
                )
            done += got

    def verify(self) -> None:
        """Compare the files with their digests.

        Raises:
            DigestMismatch: as DataDamaged, when one differs.
        """
        for file_name, wanted in sorted(self.digests.items()):
            if file_name not in (IMAGES_NAME, LABELS_NAME) or file_sha256(self.folder / file_name) != wanted:
                raise DataDamaged(
                    "{} in {} does not have the digest of its index".format(file_name, self.folder),
                    fix="push the data set again: fab data --board NN",
                )


def open_packed(root: Union[str, Path], name: str, split: str) -> PackedDataset:
    """The packed split under a data folder; see `PackedDataset`."""
    return PackedDataset(packed_folder(root, name, split))
