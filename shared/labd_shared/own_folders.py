"""A user's own pictures in a folder with a sub-folder for each class, all of them looked at."""

from pathlib import Path
from typing import Iterable, List, Optional, Sequence

import numpy as np

from labd_shared.digest import json_sha256
from labd_shared.errors import DataDamaged, DataMissing, UnknownName, unknown_name
from labd_shared.frame_form import PIXEL, FrameForm
from labd_shared.own_arrays import MAX_OWN_BYTES, MAX_OWN_CLASSES, OwnFrames
from labd_shared.picture_files import ENDINGS, is_hidden, pictures_among, unread_among
from labd_shared.pictures import PictureNotes, picture_size, read_pictures

SPLIT_FOLDERS = ("test", "train", "val", "valid", "validation")


def read_own_folder(
    path: Path, form: Optional[FrameForm], class_names: Sequence[str], max_bytes: int = MAX_OWN_BYTES
) -> OwnFrames:
    """The pictures in *path*/CLASS, brought to what the network takes.

    Args:
        path: The folder; what begins with a dot in it is passed over.
        form: What a picture must become; None where no network is known: then all have the first one's size.
        class_names: The network's classes, of which sub-folders bear the names or numbers; () where nobody knows,
            then they are the sub-folders' names in their order.
        max_bytes: Of all pixels.

    Raises:
        DataMissing: no such folder, or no pictures in it.
        DataDamaged: pictures that cannot be read; or too many.
        UnknownName: a sub-folder bears the name of no class.
        ShapeError: the network takes no pictures.
    """
    folders = class_folders(path)
    holding = [folder for folder in folders if pictures_among(folder.iterdir())]
    if not holding:
        raise _nothing(path, folders, class_names)
    _refuse_deeper(path, folders, class_names)
    names = list(class_names) or folder_names(path, [folder.name for folder in folders])
    files: List[Path] = []
    labels: List[int] = []
    for folder in folders:
        inside = pictures_among(folder.iterdir())
        label = _label(folder.name, names)
        files += inside
        labels += [label] * len(inside)
    notes = PictureNotes()
    wanted = form or FrameForm("the data set", picture_size(files[0]), PIXEL)
    images, broken = read_pictures(files, wanted, notes, max_bytes)
    if broken:
        raise DataDamaged(
            "{} of {} pictures cannot be read, the first: {}".format(len(broken), len(files), broken[0]),
            fix="copy the files again, or take them out of the folder",
        )
    listing = [[str(each), each.stat().st_size, int(each.stat().st_mtime)] for each in files]
    return OwnFrames(
        images,
        wanted.datatype or PIXEL,
        np.array(labels, np.int64),
        tuple(names),
        json_sha256(listing),
        tuple(notes.lines(wanted)),
    )


def class_folders(path: Path) -> List[Path]:
    """The sub-folders of *path* that may be classes; those of numbers in the order of numbers."""
    inside = path.iterdir() if path.is_dir() else []
    return in_class_order(each for each in inside if each.is_dir() and not is_hidden(each.name))


def in_class_order(folders: Iterable[Path]) -> List[Path]:
    """*folders* by name, those of numbers in the order of numbers."""
    return sorted(
        folders, key=lambda each: (0, int(each.name), each.name) if _number(each.name) else (1, 0, each.name)
    )


def _number(name: str) -> bool:
    return name.isdigit() and len(name) < 10


def _nothing(path: Path, folders: Sequence[Path], class_names: Sequence[str]) -> DataMissing:
    deeper = _holding_classes(folders, class_names)
    if deeper:
        return DataMissing(
            "{} has no pictures in its sub-folders: {} holds the classes".format(path, deeper[0]),
            fix="name that: --dataset dir:{}".format(deeper[0]),
        )
    below = [each for folder in folders for each in folder.iterdir()]
    unread = unread_among(below + (list(path.iterdir()) if path.is_dir() else []))
    fix = "put the pictures of each class into {}/CLASS, for example {}/{}".format(
        path, path, class_names[0] if class_names else "cat"
    )
    return DataMissing(
        "{} has no sub-folders with pictures ({}){}".format(
            path, ", ".join(ENDINGS), unread and "; it has " + unread
        ),
        fix="convert them to PNG" if unread else fix,
    )


def _refuse_deeper(path: Path, folders: Sequence[Path], class_names: Sequence[str]) -> None:
    """Refuse train/ and test/ with classes in them, taken for classes."""
    splits = [folder for folder in folders if folder.name.lower() in SPLIT_FOLDERS]
    deeper = _holding_classes([each for each in splits if each.name not in class_names], class_names)
    if deeper:
        raise DataMissing(
            "{} holds the classes, {} does not".format(deeper[0], path),
            fix="name that: --dataset dir:{}".format(deeper[0]),
        )


def _holding_classes(folders: Sequence[Path], class_names: Sequence[str]) -> List[Path]:
    """Those of *folders* that have sub-folders with pictures."""
    ordered = sorted(folders, key=lambda each: (each.name.lower() != "test", each.name))
    return [each for each in ordered if any(pictures_among(below.iterdir()) for below in class_folders(each))]


def folder_names(path: Path, folders: List[str]) -> List[str]:
    """The names of the classes whose sub-folders of *path* are *folders*, where nobody else has named them.

    Raises:
        UnknownName: they are numbers, but not from 0 on.
    """
    if not all(map(_number, folders)):
        return folders
    numbers = [int(name) for name in folders]
    if numbers[0] != 0 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        raise UnknownName(
            "the classes in {} are numbered from {} to {}, numbers from 0 are wanted".format(
                path, numbers[0], numbers[-1]
            ),
            fix="name them {} to {}, the first class 0".format(0, len(numbers) - 1),
        )
    if numbers[-1] >= MAX_OWN_CLASSES:
        raise UnknownName(
            "{} has a class number {}, {} classes are taken at most".format(
                path, numbers[-1], MAX_OWN_CLASSES
            ),
            fix="number the classes from 0 on",
        )
    return [str(label) for label in range(numbers[-1] + 1)]


def _label(folder: str, names: List[str]) -> int:
    if folder in names:
        return names.index(folder)
    if _number(folder):
        if int(folder) < len(names):
            return int(folder)
        raise UnknownName(
            "there is no class number {}: {} classes have the numbers from 0 to {}".format(
                int(folder), len(names), len(names) - 1
            ),
            fix="numbers from 0 are wanted: the first class' folder is 0, the last one's {}".format(
                len(names) - 1
            ),
        )
    raise unknown_name("class", folder, names, fix="call the sub-folder by a class's name or number")
