"""A user's own frames and labels in an .npz: found by the names people give them, and looked at as a whole."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from labd_shared.arrays import load_npz
from labd_shared.datatypes import Datatype
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, DataDamaged, DataMissing
from labd_shared.frame_form import FrameForm, frames_of

MAX_OWN_BYTES = 128 << 20  # all of it is in memory, on a board of 512 MB
# What the frames and labels of a split are called: labd's own, Keras' and scikit-learn's names. The plain ones say
# nothing of a split.
PLAIN_NAMES = (("images", "labels"), ("x", "y"), ("X", "y"))
SPLIT_NAMES = {
    "test": (("x_test", "y_test"), ("X_test", "y_test"), ("test_images", "test_labels")),
    "train": (("x_train", "y_train"), ("X_train", "y_train"), ("train_images", "train_labels")),
}
NAMES_ARRAY = "class_names"
SAVE = "save it with numpy.savez(FILE, images=..., labels=...)"
MAX_OWN_CLASSES = 10000


class OwnFrames(NamedTuple):
    """Frames of a user's own, all of them looked at.

    Attributes:
        images: ``(n,) + frame shape``, integers.
        datatype: Of their values.
        labels: int64 ``(n,)``.
        class_names: By label.
        digest: Of what they were read from.
        notes: What was done to them, a line each, for the user.
    """

    images: np.ndarray
    datatype: Datatype
    labels: np.ndarray
    class_names: Tuple[str, ...]
    digest: str
    notes: Tuple[str, ...] = ()


def read_own_arrays(
    path: Path,
    form: Optional[FrameForm],
    class_names: Sequence[str],
    split: str = "test",
    max_bytes: int = MAX_OWN_BYTES,
    plain: bool = True,
) -> OwnFrames:
    """The frames and labels of *split* in an .npz.

    Args:
        path: The file.
        form: What a frame must be; None where no network is known.
        class_names: The network's classes; () where nobody knows, then the file's, else numbers.
        split: "test" or "train".
        max_bytes: Of the file, unpacked.
        plain: Whether arrays whose names do not say a split are those of *split*.

    Raises:
        DataMissing: there is no file, or no such split in it.
        ArtifactError, DataDamaged: it does not hold frames and labels that fit.
    """
    if not path.is_file():
        raise DataMissing("there is no {}".format(path), fix="--dataset npz:FILE with images and labels")
    try:
        arrays = load_npz(path, max_bytes)
    except ArtifactError as error:
        raise DataDamaged(error.what, fix=SAVE + ", numbers or texts and no objects") from error
    images_name, labels_name = _names(arrays, split, plain, path)
    images, datatype = frames_of(arrays[images_name], form, str(path))
    names = list(class_names) or _file_names(arrays, path)
    labels, names = labels_of(arrays[labels_name], len(images), names, str(path), _judge(form))
    return OwnFrames(images, datatype, labels, tuple(names), file_sha256(path))


def _judge(form: Optional[FrameForm]) -> str:
    return form.who if form is not None else "the data set"


def _names(arrays: Dict[str, np.ndarray], split: str, plain: bool, path: Path) -> Tuple[str, str]:
    """What the frames and the labels of *split* are called."""
    wanted = (PLAIN_NAMES if plain else ()) + SPLIT_NAMES[split]
    for images, labels in wanted:
        if images in arrays and labels in arrays:
            return images, labels
    has = ", ".join(sorted(arrays)) or "nothing"
    if not plain:
        raise DataMissing(
            "{} has no {} images; it has: {}".format(path, split, has),
            fix="save {} and {} with the others".format(*SPLIT_NAMES[split][0]),
        )
    images, labels = wanted[0]
    raise DataDamaged(
        "{} has no array {}; it has: {}".format(path, labels if images in arrays else images, has), fix=SAVE
    )


def _file_names(arrays: Dict[str, np.ndarray], path: Path) -> List[str]:
    names = arrays.get(NAMES_ARRAY)
    if names is None:
        return []
    if names.dtype.kind != "U" or names.ndim != 1 or not 0 < len(names) <= MAX_OWN_CLASSES:
        raise DataDamaged(
            "{}: {} are {} {}, texts are wanted, one a class".format(
                path, NAMES_ARRAY, names.dtype, names.shape
            ),
            fix="save {}=numpy.array(['cat', 'dog'])".format(NAMES_ARRAY),
        )
    return [str(name) for name in names]


def labels_of(
    labels: np.ndarray, frames: int, names: Sequence[str], source: str, who: str
) -> Tuple[np.ndarray, List[str]]:
    """Labels as int64 ``(frames,)``, and the names of the classes.

    Args:
        labels: Integers, whole floats or texts of numbers or names, ``(n,)`` or ``(n, 1)``.
        frames: How many there must be.
        names: Of the classes; where there are none, numbers up to the largest label.
        source, who: The file and the network, for messages.

    Raises:
        DataDamaged: they are something else; the fix is about labels.
    """
    told = "{}: labels are {} {}".format(source, labels.dtype, labels.shape)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == frames:
        raise DataDamaged(
            "{}, a number for each of {} images is wanted".format(told, frames),
            fix="labels = labels.argmax(axis=1), where they are one-hot",
        )
    if labels.shape != (frames,):
        raise DataDamaged(
            "{}, there are {} images".format(told, frames),
            fix="save as many labels as images, in the same order",
        )
    numbers = _numbers(labels, names, told)
    low, high = int(numbers.min()), int(numbers.max())
    classes = list(names) or [str(label) for label in range(min(max(high, 0), MAX_OWN_CLASSES) + 1)]
    if low < 0 or high >= len(classes):
        from_one = low == 1 and high == len(classes)
        raise DataDamaged(
            "{}: labels are {} to {}, {} has {} classes".format(source, low, high, who, len(classes)),
            fix="labels = labels - 1: the first class is 0"
            if from_one
            else "give labels from 0 to {}".format(len(classes) - 1),
        )
    return numbers, classes


def _numbers(labels: np.ndarray, names: Sequence[str], told: str) -> np.ndarray:
    """Labels as int64."""
    kind = labels.dtype.kind
    if kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        return labels.astype(np.int64)
    if kind in "biu":
        return labels.astype(np.int64)
    if kind in "US":
        texts = [text.decode("utf-8", "replace") if kind == "S" else str(text) for text in labels]
        places = {name: place for place, name in enumerate(names)}
        if all(text in places for text in texts):
            return np.array([places[text] for text in texts], np.int64)
        if all(text.isdigit() and len(text) <= 9 for text in texts):
            return np.array([int(text) for text in texts], np.int64)
    raise DataDamaged(
        "{} and not all of them numbers of classes".format(told),
        fix="save the number of each image's class, from 0 on, as integers"
        + (", or the names {}, ...".format(", ".join(list(names)[:3])) if names else ""),
    )
