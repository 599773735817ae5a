"""Data sets in their official files, and packed for streaming.

The official files are read once (`read_official`), checked by structure, and written as a packed
folder (`write_packed`): raw uint8 images, uint8 labels, the coarse labels of a data set that has
such, and an index with their digests. A user's own data set is packed the same way: frames of any integer
type, labels of 32 bits, and an index that says of what classes, shape and datatype it is. The board streams
from it (`PackedDataset`) straight into its batch buffer; nothing else is held in memory. What only reading
archives, packing and verifying need (OpenSSL behind hashlib: 3.7 MB) is imported there, so that a board
which streams does not pay for it.
"""

import io
import json
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import numpy as np

from labd_shared.dataset_table import DATASETS as DATASETS
from labd_shared.dataset_table import SPLITS as SPLITS
from labd_shared.dataset_table import DatasetSpec as DatasetSpec
from labd_shared.dataset_table import OfficialForm, check_labels
from labd_shared.dataset_table import dataset_spec as dataset_spec
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import DataDamaged, DataMissing, DatatypeError, ShapeError, unknown_name
from labd_shared.fields import container
from labd_shared.files import read_bounded, replacing_folder
from labd_shared.records import MAX_NAME, Origin, Value, parse_json
from labd_shared.tensors import count

PACKED_FORMAT = "labd-packed-dataset"
PACKED_VERSION = 1
INDEX_NAME, IMAGES_NAME, LABELS_NAME, COARSE_NAME = "index.json", "images.u8", "labels.u8", "coarse.u8"
OWN_IMAGES_NAME, OWN_LABELS_NAME = "frames.bin", "labels.i32"  # of a data set that is in no table
INDEX_FIELDS = ("name", "split", "count", "sha256")
OWN_FIELDS = ("image_shape", "class_names", "datatype")
MAX_INDEX_BYTES, MAX_IMAGES, MAX_FRAME_AXES = 1 << 20, 1 << 31, 8
MAX_PACKED_CLASSES = 10000


def missing_files(folder: Union[str, Path], name: str, split: str) -> List[str]:
    """What of the preferred form *folder* lacks for *split*; nothing where it has some form whole.

    Raises:
        UnknownName: no such data set or split.
    """
    spec = _checked_split(name, split)
    if any(_files_there(Path(folder), form, split) for form in spec.forms):
        return []
    preferred = spec.forms[0]
    if preferred.archive:
        return [preferred.archive]
    return [each for each in preferred.files[split] if not _either(Path(folder) / each)]


def official_files(folder: Union[str, Path], name: str, split: str) -> Tuple[Path, ...]:
    """The official files of a split in *folder*, in the preferred form of those that are there.

    An archive as it is, or its folder unpacked; the files of MNIST also without ".gz".

    Raises:
        UnknownName: no such data set or split.
        DataMissing: no form is there whole.
    """
    return _official(folder, name, split)[0][1]


def read_official(folder: Union[str, Path], name: str, split: str) -> Tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``(n, height, width, channels)`` and labels uint8 ``(n,)`` of a split.

    Coarse labels follow from the labels (`DatasetSpec.coarse_labels`); those in the files must agree.

    Raises:
        UnknownName: no such data set or split.
        DataMissing: no official form in *folder* has the split.
        DataDamaged: a file does not have the format's structure.
        ArtifactError: a file is larger than any official one, or cannot be read.
    """
    from labd_shared import cifar, idx

    spec = _checked_split(name, split)
    lacking = []
    for form, paths in _official(folder, name, split):
        try:
            if form.kind == "idx":
                return idx.read_mnist(spec, paths)
            return cifar.read_cifar(spec, form, split, paths)
        except DataMissing as error:  # an archive without this split; the other one may have it
            lacking.append(error)
    raise lacking[0]


def _checked_split(name: str, split: str) -> DatasetSpec:
    spec = dataset_spec(name)
    if split not in SPLITS:
        raise unknown_name("split of " + name, split, SPLITS)
    return spec


def _official(folder: Union[str, Path], name: str, split: str) -> List[Tuple[OfficialForm, Tuple[Path, ...]]]:
    """The official forms of *split* that are in *folder*, at least one, each with its files."""
    spec = _checked_split(name, split)
    found = [(form, _files_there(Path(folder), form, split)) for form in spec.forms]
    if any(paths for _, paths in found):
        return [(form, paths) for form, paths in found if paths]
    wanted = missing_files(folder, name, split)
    others = "".join(", nor {}".format(form.archive) for form in spec.forms[1:])
    raise DataMissing(
        "{} is not in {}{}".format(wanted[0], folder, others),
        fix="put {} there, or set LABD_DATASETS to a folder that has {}/{}".format(
            " and ".join(spec.forms[0].handed_out(split)), name, wanted[0]
        ),
    )


def _files_there(folder: Path, form: OfficialForm, split: str) -> Tuple[Path, ...]:
    """The archive, or every single file of *split*; empty where one is lacking."""
    if form.archive:
        if (folder / form.archive).is_file():
            return (folder / form.archive,)
        paths = [folder / form.folder / each for each in form.files[split] + form.names]
        return tuple(paths) if all(path.is_file() for path in paths) else ()
    found = [_either(folder / each) for each in form.files[split]]
    return tuple(path for path in found if path) if all(found) else ()


def _either(path: Path) -> Optional[Path]:
    """*path*, or where it ends in .gz the same without, whichever is a file."""
    for candidate in (path, path.with_suffix("")):
        if candidate.is_file():
            return candidate
    return None


def packed_sizes(spec: DatasetSpec, frames: int) -> Dict[str, int]:
    """The files of a packed split of *frames* images beside its index, each with its size in bytes."""
    if not spec.forms:
        frame_bytes = count(spec.image_shape) * container(parse_datatype(spec.datatype)).itemsize
        return {OWN_IMAGES_NAME: frames * frame_bytes, OWN_LABELS_NAME: 4 * frames}
    sizes = {IMAGES_NAME: frames * count(spec.image_shape), LABELS_NAME: frames}
    if spec.coarse_names:
        sizes[COARSE_NAME] = frames
    return sizes


def read_index(content: Union[str, bytes], origin: Origin) -> Tuple[DatasetSpec, Dict[str, Value]]:
    """What data set a packed split is of, by its index, and the index' fields.

    Raises:
        LabdError: of the origin's class: it is not an index.
        UnknownName: it is of a data set that this labd does not know, and does not describe it.
    """
    record = parse_json(content, MAX_INDEX_BYTES, origin)
    index = record.of_format(PACKED_FORMAT, PACKED_VERSION).fields(INDEX_FIELDS, None)
    name = index["name"].text(MAX_NAME)
    if name in DATASETS or "class_names" not in index:
        return dataset_spec(name), index
    record.fields(OWN_FIELDS, None)
    shape = tuple(axis.integer(1, MAX_IMAGES) for axis in index["image_shape"].list(1, MAX_FRAME_AXES))
    names = tuple(each.text(MAX_NAME) for each in index["class_names"].list(0, MAX_PACKED_CLASSES))
    datatype = index["datatype"].text(MAX_NAME)
    try:
        parse_datatype(datatype)
    except DatatypeError as error:
        raise origin.fault("datatype: {}".format(error.what)) from error
    return DatasetSpec(name, shape, names, (), datatype=datatype), index


def packed_folder(root: Union[str, Path], name: str, split: str) -> Path:
    """Where a packed split lies under a data folder."""
    return Path(root) / name / split


def write_packed(
    root: Union[str, Path], spec: DatasetSpec, split: str, images: np.ndarray, labels: np.ndarray
) -> Path:
    """Write a packed split under *root*, atomically; returns its folder.

    Args:
        root: The data folder.
        spec: Of the data set.
        split: "train" or "test".
        images: ``(n,) + spec.image_shape``, uint8; of a user's own data set integers of its datatype.
        labels: uint8 ``(n,)``; the coarse ones are made from them. A user's own may be of any integer type.

    Raises:
        ShapeError: *images* or *labels* do not fit it.
        DataDamaged: a label is none of its classes.
    """
    from labd_shared.digest import bytes_sha256

    kind = container(parse_datatype(spec.datatype))
    fits = labels.dtype == np.uint8 if spec.forms else labels.dtype.kind in "iu"
    if images.dtype != kind or images.shape != (len(labels),) + spec.image_shape or not fits:
        raise ShapeError(
            "{} images {} and labels {} {} do not fit {}".format(
                images.dtype, images.shape, labels.dtype, labels.shape, spec.name
            ),
            fix="{} images of shape (n, {}) and uint8 labels".format(
                kind, ", ".join(map(str, spec.image_shape))
            ),
        )
    check_labels(spec, labels, "what is to be packed")
    content = {IMAGES_NAME: images, LABELS_NAME: labels}
    if not spec.forms:
        content = {OWN_IMAGES_NAME: images, OWN_LABELS_NAME: labels.astype("<i4")}
    if spec.coarse_names:
        content[COARSE_NAME] = spec.coarse_labels(labels)
    target = packed_folder(root, spec.name, split)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(target) as making:
        digests = {}
        for file_name, array in content.items():
            data = np.ascontiguousarray(array).tobytes()
            (making / file_name).write_bytes(data)
            digests[file_name] = bytes_sha256(data)
        index = {
            "format": PACKED_FORMAT,
            "version": PACKED_VERSION,
            "name": spec.name,
            "split": split,
            "count": len(labels),
            "image_shape": list(spec.image_shape),
            "sha256": digests,
        }
        if not spec.forms:
            index.update(class_names=list(spec.class_names), datatype=spec.datatype)
        (making / INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return target


class PackedDataset(object):
    """A packed split, streamed.

    Attributes:
        name, split: Of the data set.
        spec: Its description.
        count: Number of images.
        dtype: Of the values of a frame: uint8 of pixels.
        frame_values: So many has a frame.
        labels: Integers ``(count,)``, uint8 of a data set of the table, `UNKNOWN_LABEL` where nobody knows.
        coarse: Coarse labels, uint8 ``(count,)``; None where the data set has none.
        notes: What was done to its images, a line each: nothing.
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
        origin = Origin("the index in {}".format(folder), again, DataDamaged)
        content = read_bounded(self.folder / INDEX_NAME, MAX_INDEX_BYTES, again, DataDamaged)
        self.spec, index = read_index(content, origin)
        self.name, self.split = self.spec.name, index["split"].text(MAX_NAME)
        self.count = index["count"].integer(0, MAX_IMAGES)
        self.digests = {key: value.text(64) for key, value in index["sha256"].entries().items()}
        self.dtype = container(parse_datatype(self.spec.datatype))
        self.frame_values = count(self.spec.image_shape)
        self.sizes = packed_sizes(self.spec, self.count)
        for file_name, size in self.sizes.items():
            found = (self.folder / file_name).stat().st_size if (self.folder / file_name).is_file() else -1
            if found != size:
                raise DataDamaged(
                    "{} in {} has {} bytes, the index says {}".format(file_name, folder, found, size),
                    fix=again,
                )
        own = not self.spec.forms
        self._images_name, labels_name = (
            (OWN_IMAGES_NAME, OWN_LABELS_NAME) if own else (IMAGES_NAME, LABELS_NAME)
        )
        self.labels = np.fromfile(str(self.folder / labels_name), "<i4" if own else np.uint8)
        check_labels(self.spec, self.labels, labels_name + " in " + str(folder))
        self.notes = ()  # type: Tuple[str, ...]
        self.coarse = None  # type: Optional[np.ndarray]
        if self.spec.coarse_names:
            self.coarse = np.fromfile(str(self.folder / COARSE_NAME), np.uint8)
            if not np.array_equal(self.coarse, self.spec.coarse_labels(self.labels)):
                raise DataDamaged(
                    "{} and {} in {} do not belong together".format(COARSE_NAME, LABELS_NAME, folder),
                    fix=again,
                )
        self._images = io.FileIO(str(self.folder / self._images_name))

    def __enter__(self) -> "PackedDataset":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the image file. Twice is harmless."""
        self._images.close()

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Fill *out*, contiguous, of `dtype` or of bytes, with one image a row, from image *start* on.

        Raises:
            ShapeError: *out* does not hold whole images, or reaches past the end.
            DataDamaged: the file ended early.
        """
        frame_bytes = self.frame_values * self.dtype.itemsize
        if (
            out.dtype not in (self.dtype, np.uint8)
            or not out.flags.c_contiguous
            or count(out.shape[1:]) * out.itemsize != frame_bytes
        ):
            raise ShapeError(
                "a buffer {} {} cannot take images of {} bytes".format(out.dtype, out.shape, frame_bytes),
                fix="the network's input and the data set's images differ in size: choose another --dataset",
            )
        if start < 0 or start + len(out) > self.count:
            raise ShapeError(
                "images {} to {} were asked for, {} has {}".format(
                    start, start + len(out), self.name, self.count
                ),
                fix="ask for images inside the set",
            )
        self._images.seek(start * frame_bytes)
        view = memoryview(out.reshape(-1).view(np.uint8).data)
        done = 0
        while done < len(view):
            got = self._images.readinto(view[done:])
            if not got:
                raise DataDamaged(
                    "{} ended early".format(self.folder / self._images_name), fix="push the data set again"
                )
            done += got

    def verify(self) -> None:
        """Compare the files with their digests.

        Raises:
            DataDamaged: one differs.
        """
        from labd_shared.digest import file_sha256

        for file_name in sorted(self.sizes):
            if file_sha256(self.folder / file_name) != self.digests.get(file_name):
                raise DataDamaged(
                    "{} in {} does not have the digest of its index".format(file_name, self.folder),
                    fix="push the data set again: fab data --board NN",
                )


def open_packed(root: Union[str, Path], name: str, split: str) -> PackedDataset:
    """The packed split under a data folder; see `PackedDataset`."""
    return PackedDataset(packed_folder(root, name, split))
