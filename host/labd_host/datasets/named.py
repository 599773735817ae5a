"""What a user names as a data set, read: one of the table, npz:FILE, dir:FOLDER, NAME.toml, random, or a kept one."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.datasets.definition import DEFINITION, NAME, Definition, read_definition, short_name
from labd_host.datasets.official import load_official
from labd_host.machine import places
from labd_shared.dataset_table import PIXEL_SCALE, UNKNOWN_LABEL
from labd_shared.datasets import (
    DATASETS,
    INDEX_NAME,
    SPLITS,
    DatasetSpec,
    PackedDataset,
    dataset_spec,
    packed_folder,
    write_packed,
)
from labd_shared.errors import DataDamaged, DataMissing, DatatypeError, ShapeError, UsageError, unknown_name
from labd_shared.fields import container
from labd_shared.frame_form import PIXEL, FrameForm
from labd_shared.own_arrays import OwnFrames, read_own_arrays
from labd_shared.own_folders import class_folders, folder_names, in_class_order, read_own_folder
from labd_shared.picture_files import pictures_among
from labd_shared.pictures import picture_size
from labd_shared.tensors import Shape, count

ARRAYS, FOLDER, RANDOM = "npz:", "dir:", "random"
FORMS = "mnist, cifar10, cifar100, npz:FILE, dir:FOLDER, NAME.toml or random"
MAX_HOST_BYTES = 2 << 30
DRAWN, DRAWN_SEED = 1000, 12  # random frames
READ_AT_ONCE = 4  # splits of own data that stay in memory

Frames = npt.NDArray[Any]  # integers: of pixels uint8


@dataclass(frozen=True, eq=False)
class SplitFrames:
    """One split of a data set.

    Attributes:
        spec: The data set.
        images: ``(n,) + spec.image_shape``, integers of its datatype; read-only where they are a user's own.
        labels: ``(n,)``, `UNKNOWN_LABEL` where nobody knows.
        notes: What was done to a user's pictures, a line each.
    """

    spec: DatasetSpec
    images: Frames
    labels: Frames
    notes: tuple[str, ...] = ()


def located(text: str, folder: Path) -> str:
    """*text* with the whole path of its file, which may lie in *folder* or here; as it is where it has none."""
    kind = next((each for each in (ARRAYS, FOLDER) if text.startswith(each)), "")
    if text in DATASETS or not (kind or text.endswith(DEFINITION)):
        return text
    path = Path(text[len(kind) :]).expanduser()
    beside = folder / path
    return kind + str((beside if beside.exists() else path).absolute())


def is_named_here(text: str) -> bool:
    """Whether *text* is data of this machine, npz:FILE, dir:FOLDER, NAME.toml or random, and not a set's name."""
    return text.startswith((ARRAYS, FOLDER)) or text.endswith(DEFINITION) or text == RANDOM


def is_own(text: str) -> bool:
    """Whether *text* names data that only this machine has: no data set of the table."""
    return text not in DATASETS


def read(text: str, split: str, form: FrameForm | None = None) -> SplitFrames:
    """A split of the data set that *text* names.

    Args:
        text: A name of the table, ``npz:FILE``, ``dir:FOLDER``, ``NAME.toml``, ``random``, or the name of own data
            that a bundle was built with on this machine.
        split: "train" or "test".
        form: What the network takes; a user's own frames are brought to it, or refused. None where no network is
            known.

    Raises:
        UnknownName: no such data set or split.
        DataMissing: it is not available, or has no such split.
        ArtifactError, DataDamaged: a file is damaged, or its frames and labels do not fit.
        ShapeError, UsageError: the network takes something else.
    """
    if split not in SPLITS:
        raise unknown_name(f"split of {text}", split, SPLITS)
    if not is_own(text):
        images, labels = load_official(text, split)
        return SplitFrames(dataset_spec(text), images, labels)
    if text == RANDOM:
        found = _drawn(form)
    else:
        found = _own(text, split, form) if is_named_here(text) else _kept(text, split, form)
    if form is None:
        return found
    return replace(found, spec=with_classes(found.spec, form.who, form.classes))


def load(text: str, split: str, form: FrameForm | None = None) -> tuple[Frames, Frames]:
    """Images and labels of a split; arguments and errors as of `read`."""
    found = read(text, split, form)
    return found.images, found.labels


def describe(text: str, form: FrameForm | None = None) -> DatasetSpec:
    """The data set that *text* names: of the table without a look at its files; else its test split is read.

    Raises:
        As `read`.
    """
    if not is_own(text):
        return dataset_spec(text)
    try:
        return read(text, "test", form).spec
    except DataMissing:
        return read(text, "train", form).spec


def with_classes(spec: DatasetSpec, network: str, classes: int) -> DatasetSpec:
    """*spec* with a number for each of the *classes* that *network* tells apart, where nobody named them.

    A split may lack the last classes. Where it lacks more than half of them, or has names, the network's values are
    not its classes, and whoever judges says so.

    Raises:
        DataDamaged: it has more classes.
    """
    names = spec.class_names
    if classes and len(names) > classes:
        raise DataDamaged(
            f"{spec.name} has {len(names)} classes, {network} tells {classes} apart",
            fix="name the data set it was trained on: --dataset npz:FILE",
        )
    numbered = names == tuple(map(str, range(len(names))))
    if not numbered or 0 < 2 * len(names) < classes:
        return spec
    return spec._replace(class_names=(*names, *map(str, range(len(names), classes))))


def classes_of(spec: DatasetSpec, outputs: int) -> int | None:
    """How many classes a network of *outputs* values is judged by; None where no image has a label.

    Raises:
        DataDamaged: the data set has more classes.
    """
    if not spec.class_names:
        return None
    known = spec if spec.forms else with_classes(spec, "the network", outputs)
    return len(known.class_names)


def keep(found: SplitFrames, split: str) -> Path:
    """Write a split of own data where it is found again by its name; its folder.

    A bundle holds the name and no pictures: this is what is sent to a board, and judged on here, later.
    """
    return write_packed(kept_root(), found.spec, split, found.images, found.labels)


def kept_root() -> Path:
    """Where packed splits are kept, as on a board."""
    return places.cache() / "packed"


def _own(text: str, split: str, form: FrameForm | None) -> SplitFrames:
    if text.endswith(DEFINITION) and not text.startswith((ARRAYS, FOLDER)):
        definition = read_definition(Path(text).expanduser())
    else:
        path = Path(text[len(ARRAYS) :]).expanduser()
        parts = {"test": text, "train": text} if text.startswith(ARRAYS) else {"test": text}
        definition = Definition(short_name(path), parts)
    if split not in definition.parts:
        raise DataMissing(
            f"{text} has no {split} images",
            fix=f'name them in a file of your own: {split} = "{definition.parts.get("test", "npz:FILE")}" in NAME.toml',
        )
    part = definition.parts[split]
    wanted = _wanted(text, definition, form)
    plain = split == "test" or part != text  # a file that is named for one split holds that one
    names = definition.class_names or (form.class_names if form else ()) or _shared_names(definition)
    found = _read_part(part, split, wanted, names, plain)
    scale = definition.scale
    if scale is None:
        scale = PIXEL_SCALE if found.datatype == PIXEL else 1.0
    spec = DatasetSpec(
        definition.name, found.images.shape[1:], found.class_names, (), datatype=found.datatype.name,
        scale=scale, offset=definition.offset or 0.0,
    )  # fmt: skip
    return SplitFrames(spec, found.images, found.labels, found.notes)


def _shared_names(definition: Definition) -> tuple[str, ...]:
    """The classes of a data set whose splits are folders, of which one may lack a class; () of all others."""
    folders = [Path(part[len(FOLDER) :]) for part in definition.parts.values() if part.startswith(FOLDER)]
    if len(folders) < len(SPLITS):
        return ()
    found = {each.name: each for folder in folders for each in class_folders(folder)}
    return tuple(folder_names(folders[0], [each.name for each in in_class_order(found.values())]))


def _wanted(text: str, definition: Definition, form: FrameForm | None) -> FrameForm | None:
    """The form that both the network and the definition want."""
    if form is None:
        if definition.shape is None:
            return None
        return FrameForm(definition.name, definition.shape, definition.datatype)
    shape, datatype = definition.shape or form.shape, definition.datatype or form.datatype
    flat = len(form.shape) == 1 and count(shape) == form.shape[0]
    if shape != form.shape and not flat:
        raise ShapeError(
            f"{text} has frames of {_shown(shape)}, {form.who} takes {_shown(form.shape)}",
            fix=f"shape = {list(form.shape)}",
        )
    if form.datatype is not None and datatype is not None and datatype != form.datatype:
        raise DatatypeError(
            f"{text} has values of {datatype.name}, {form.who} takes {form.datatype.name}",
            fix=f'datatype = "{form.datatype.name}"',
        )
    return FrameForm(form.who, shape, datatype, form.class_names)


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _read_part(
    part: str, split: str, form: FrameForm | None, names: tuple[str, ...], plain: bool
) -> OwnFrames:
    """The frames in npz:FILE or dir:FOLDER."""
    path = Path(part[len(ARRAYS) :])
    if part.startswith(FOLDER):
        return _frozen(read_own_folder(path, _of_pictures(path, form), names, MAX_HOST_BYTES))
    found = path.stat() if path.is_file() else None
    stamp = (found.st_mtime_ns, found.st_size) if found else (0, 0)
    return _read_arrays(path, split, form, names, plain, stamp)


@functools.lru_cache(READ_AT_ONCE)
def _read_arrays(
    path: Path,
    split: str,
    form: FrameForm | None,
    names: tuple[str, ...],
    plain: bool,
    stamp: tuple[int, int],  # noqa: ARG001 - a file that was changed is read again
) -> OwnFrames:
    return _frozen(read_own_arrays(path, form, names, split, MAX_HOST_BYTES, plain))


def _frozen(found: OwnFrames) -> OwnFrames:
    """The same, shared by all who read it."""
    for array in (found.images, found.labels):
        array.flags.writeable = False
    return found


def _of_pictures(path: Path, form: FrameForm | None) -> FrameForm | None:
    """*form* with a picture's shape, where the network takes a vector of as many pixels as a grey picture has."""
    if form is None or len(form.shape) == 3:
        return form
    values = form.shape[0]
    side = round(values**0.5)
    first = next((each for folder in class_folders(path) for each in pictures_among(folder.iterdir())), None)
    shape = picture_size(first) if first is not None else (side, side, 1)
    if count(shape[:2]) != values:
        shape = (side, side, 1)
    return form if count(shape[:2]) != values else form._replace(shape=(*shape[:2], 1))


def _drawn(form: FrameForm | None) -> SplitFrames:
    """Frames without labels, drawn with a fixed seed: the same network gets the same ones."""
    if form is None:
        raise UsageError(
            "random images are drawn for a network, and none is known here",
            fix=f"name a data set that has images: {FORMS}",
        )
    kind = form.datatype or PIXEL
    rng = np.random.default_rng(DRAWN_SEED)
    # Each frame has values of its own range: of noise from the whole range, all would look alike to a network.
    edges = np.sort(rng.random((2, DRAWN, *[1] * len(form.shape))), axis=0)
    values = edges[0] + (edges[1] - edges[0]) * rng.random((DRAWN, *form.shape))
    if kind.name == "BIPOLAR":
        images = np.where(values < 0.5, -1, 1)
    else:
        images = np.minimum(np.floor(kind.low + values * (kind.high - kind.low + 1)), kind.high)
    name = "-".join([RANDOM, "x".join(map(str, form.shape)), *([] if kind == PIXEL else [kind.name.lower()])])
    spec = DatasetSpec(
        name, form.shape, (), (), datatype=kind.name, scale=PIXEL_SCALE if kind == PIXEL else 1.0
    )
    return SplitFrames(spec, images.astype(container(kind)), np.full(DRAWN, UNKNOWN_LABEL))


def _kept(name: str, split: str, form: FrameForm | None) -> SplitFrames:
    """The split of that name that `keep` wrote on this machine."""
    folder = packed_folder(kept_root(), name, split)
    if NAME.fullmatch(name) is None or not (folder / INDEX_NAME).is_file():
        raise unknown_name("dataset", name, DATASETS, fix=f"name one of labd's, or data of your own: {FORMS}")
    with PackedDataset(folder) as dataset:
        spec = dataset.spec
        images = np.empty((dataset.count, *spec.image_shape), dataset.dtype)
        dataset.read_into(0, images)
        labels = dataset.labels
    if form is not None and count(form.shape) != count(spec.image_shape):
        raise ShapeError(
            f"{name} has images of {_shown(spec.image_shape)}, {form.who} takes {_shown(form.shape)}",
            fix="name the data set that it was built with: --dataset npz:FILE",
        )
    return SplitFrames(spec, images, labels)
