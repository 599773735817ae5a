"""The idx format of MNIST: a big-endian header with the axes, then the bytes.

Source: http://yann.lecun.com/exdb/mnist (the page is dead, the format is described in every
mirror's README).
"""

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Sequence, Tuple

import numpy as np

from labd_shared.dataset_table import DatasetSpec, check_labels
from labd_shared.errors import DataDamaged
from labd_shared.tensors import count

MAX_IDX_BYTES = 256 << 20


def read_mnist(spec: DatasetSpec, paths: Sequence[Path]) -> Tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``(n, 28, 28, 1)`` and labels uint8 ``(n,)`` of the two files of a split.

    Raises:
        DataDamaged: a file does not have the format's structure, the two differ in number, or a label
            is no class.
    """
    image_file, label_file = paths
    images, labels = _read_idx(image_file, 3), _read_idx(label_file, 1)
    if len(images) != len(labels):
        raise DataDamaged(
            "{} holds {} images and {} {} labels".format(
                image_file.name, len(images), label_file.name, len(labels)
            ),
            fix="fetch both files again",
        )
    check_labels(spec, labels, label_file.name)
    return images.reshape((-1,) + spec.image_shape), labels


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
