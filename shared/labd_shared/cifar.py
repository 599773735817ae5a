"""CIFAR-10 and CIFAR-100 from their official archives: the binary and the python distribution.

Nothing is unpacked onto the disk and nothing in an archive is executed: members are read by their
exact names, bounded, and checked. An image lies there as its red plane, then green, then blue.

Source: https://www.cs.toronto.edu/~kriz/cifar.html ("Binary version", "Python / Matlab versions").
"""

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from labd_shared.dataset_table import DatasetSpec, OfficialForm, check_labels
from labd_shared.errors import DataDamaged, DataMissing, LabdError
from labd_shared.files import read_bounded
from labd_shared.tensors import count
from labd_shared.unpickle import unpickle

MAX_ARCHIVE_BYTES = 200 << 20  # unpacked; CIFAR-10 has 187 MB
MAX_FILE_BYTES = 160 << 20  # the training images of CIFAR-100 in one file: 154 MB
MAX_MEMBERS = 64
AGAIN = "fetch the file again"


class Records(NamedTuple):
    """The content of one file.

    Attributes:
        labels: uint8 ``(n,)``; CIFAR-100's fine ones.
        coarse: uint8 ``(n,)``; None for CIFAR-10.
        planes: uint8 ``(n, 3072)``: red, green, blue.
    """

    labels: np.ndarray
    coarse: Optional[np.ndarray]
    planes: np.ndarray


def read_cifar(
    spec: DatasetSpec, form: OfficialForm, split: str, paths: Sequence[Path]
) -> Tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``(n, 32, 32, 3)`` and labels uint8 ``(n,)`` of a split.

    Args:
        spec: CIFAR-10 or CIFAR-100.
        form: "binary" or "python".
        split: "train" or "test".
        paths: The archive alone, or the unpacked files.

    Raises:
        DataMissing: the archive is whole, but without this split.
        DataDamaged: names, records, labels or class names are not the data set's.
        ArtifactError: a file cannot be read, or is too large.
    """
    wanted = form.files[split] + form.names
    if len(paths) == 1 and paths[0].name == form.archive:
        files = _read_archive(paths[0], form, wanted)
    else:
        files = {path.name: read_bounded(path, MAX_FILE_BYTES, AGAIN) for path in paths}
    _check_class_names(spec, form, files)
    read = _binary if form.kind == "binary" else _pickled
    parts = [read(spec, name, files.pop(name)) for name in form.files[split]]
    images = np.empty((sum(len(part.labels) for part in parts),) + spec.image_shape, np.uint8)
    start = 0
    for name, part in zip(form.files[split], parts):
        _check_both_labels(spec, name, part)
        end = start + len(part.labels)
        height, width, channels = spec.image_shape
        images[start:end] = part.planes.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        start = end
    return images, np.concatenate([part.labels for part in parts])


def _read_archive(path: Path, form: OfficialForm, wanted: Sequence[str]) -> Dict[str, bytes]:
    """The content of the *wanted* members of ``form.folder``, and of nothing else."""
    found = {}  # type: Dict[str, bytes]
    try:
        with _Unzipped(str(path)) as unzipped:
            with tarfile.open(fileobj=unzipped, mode="r|", bufsize=1 << 18) as tar:
                for number, member in enumerate(tar):
                    if number >= MAX_MEMBERS:
                        raise DataDamaged("{} has more than {} members".format(path.name, number), fix=AGAIN)
                    folder, _, name = member.name.rpartition("/")
                    if folder == form.folder and name in wanted and name not in found:
                        found[name] = _read_member(tar, member, path.name)
                        if len(found) == len(wanted):
                            return found
    except LabdError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise DataDamaged("{} cannot be read: {}".format(path.name, error), fix=AGAIN) from error
    lacking = ", ".join(form.folder + "/" + name for name in wanted if name not in found)
    if all(name in found for name in form.names):
        raise DataMissing(
            "{} holds no {}".format(path, lacking), fix="put the official {} there".format(path.name)
        )
    raise DataDamaged("{} holds no {}".format(path.name, lacking), fix=AGAIN)


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: str) -> bytes:
    if not member.isreg() or member.issparse():
        raise DataDamaged("{} in {} is no plain file".format(member.name, archive), fix=AGAIN)
    if member.size > MAX_FILE_BYTES:
        raise DataDamaged(
            "{} in {} has {} bytes, more than {}".format(member.name, archive, member.size, MAX_FILE_BYTES),
            fix=AGAIN,
        )
    content = tar.extractfile(member)
    data = content.read() if content is not None else b""
    if len(data) != member.size:
        raise DataDamaged("{} in {} ends early".format(member.name, archive), fix=AGAIN)
    return data


class _Unzipped(gzip.GzipFile):
    """Gives no more than an official archive has, however well the file was packed."""

    left_bytes = MAX_ARCHIVE_BYTES

    def read(self, size: Optional[int] = -1) -> bytes:
        """Up to *size* bytes.

        Raises:
            DataDamaged: there is more than there may be.
        """
        data = super(_Unzipped, self).read(size)
        self.left_bytes -= len(data)
        if self.left_bytes < 0:
            raise DataDamaged(
                "{} unpacks to more than {} bytes".format(self.name, MAX_ARCHIVE_BYTES), fix=AGAIN
            )
        return data


def _binary(spec: DatasetSpec, name: str, data: bytes) -> Records:
    """Records of label bytes (CIFAR-100: coarse, then fine), then pixels."""
    labels = 2 if spec.coarse_names else 1
    size = labels + count(spec.image_shape)
    if not data or len(data) % size:
        raise DataDamaged(
            "{} has {} bytes, {} has records of {}".format(name, len(data), spec.name, size), fix=AGAIN
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, size)
    return Records(rows[:, labels - 1].copy(), rows[:, 0] if labels == 2 else None, rows[:, labels:])


def _pickled(spec: DatasetSpec, name: str, data: bytes) -> Records:
    """A dictionary with the pixels as an array and the labels as lists."""
    record = unpickle(data, name)
    planes = record.get("data")
    if not isinstance(planes, np.ndarray) or planes.shape[1:] != (count(spec.image_shape),):
        raise DataDamaged("{} holds no array of images of {}".format(name, spec.name), fix=AGAIN)
    keys = ("fine_labels", "coarse_labels") if spec.coarse_names else ("labels",)
    columns = []
    for key in keys:
        values = record.get(key)
        if not isinstance(values, list) or not all(
            type(value) is int and 0 <= value < 256 for value in values
        ):
            raise DataDamaged("{} holds no {} from 0 to 255".format(name, key), fix=AGAIN)
        if len(values) != len(planes):
            raise DataDamaged(
                "{} holds {} images and {} {}".format(name, len(planes), len(values), key), fix=AGAIN
            )
        columns.append(np.array(values, np.uint8))
    return Records(columns[0], columns[1] if spec.coarse_names else None, planes)


def _check_both_labels(spec: DatasetSpec, name: str, records: Records) -> None:
    """Fine labels are classes, and every image's coarse label is the one its class belongs to."""
    check_labels(spec, records.labels, name)
    if records.coarse is None:
        return
    wrong = np.flatnonzero(records.coarse != spec.coarse_labels(records.labels))
    if len(wrong):
        row = int(wrong[0])
        fine = int(records.labels[row])
        raise DataDamaged(
            "{} says coarse class {} of image {}, but {} belongs to {}".format(
                name,
                int(records.coarse[row]),
                row,
                spec.class_names[fine],
                spec.coarse_names[spec.coarse_of[fine]],
            ),
            fix=AGAIN,
        )


def _check_class_names(spec: DatasetSpec, form: OfficialForm, files: Dict[str, bytes]) -> None:
    """The names in the files are the table's, in its order."""
    known = [spec.class_names] + ([spec.coarse_names] if spec.coarse_names else [])
    if form.kind == "binary":
        listed = [(name, files[name].split()) for name in form.names]
    else:
        record = unpickle(files[form.names[0]], form.names[0])
        keys = ("fine_label_names", "coarse_label_names") if spec.coarse_names else ("label_names",)
        listed = [("{} of {}".format(key, form.names[0]), _strings(record.get(key))) for key in keys]
    for (source, found), names in zip(listed, known):
        if found != [name.encode("ascii") for name in names]:
            raise DataDamaged(
                "{} does not name the {} classes of {} in their order".format(source, len(names), spec.name),
                fix=AGAIN,
            )


def _strings(values: object) -> List[bytes]:
    """A list of names as bytes, whether pickled as such or as text; empty where it is no such list."""
    if not isinstance(values, list):
        return []
    encoded = [value.encode("utf-8") if isinstance(value, str) else value for value in values]
    return [value for value in encoded if isinstance(value, bytes)]
