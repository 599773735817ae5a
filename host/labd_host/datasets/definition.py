"""NAME.toml: a user's own data set in words, read once and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from labd_host.machine.toml_files import read_toml
from labd_shared.dataset_table import DATASETS, SPLITS
from labd_shared.datatypes import Datatype, parse_datatype
from labd_shared.errors import ArtifactError, DatatypeError
from labd_shared.own_arrays import MAX_OWN_CLASSES
from labd_shared.records import MAX_NAME, Origin, Value
from labd_shared.tensors import Shape, count

DEFINITION = ".toml"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
NAME_WANTED = "a name of a to z, 0 to 9 and -, 64 characters at most,"
PART = re.compile(r"(npz|dir):.+")
PART_WANTED = "npz:FILE or dir:FOLDER"
MAX_DEFINITION_BYTES = 1 << 20
MAX_VALUES = 1 << 26  # of a frame
FIELDS = ("name", "classes", "shape", "datatype", "scale", "offset", *SPLITS)


@dataclass(frozen=True)
class Definition:
    """What a user says of a data set.

    Attributes:
        name: What bundles and boards call it.
        parts: By split: npz:FILE or dir:FOLDER, the path absolute or from here.
        class_names: By label; () where the arrays or folders name them.
        shape: Of a frame; None where the arrays or pictures have it.
        datatype: Of a frame's values; None where the arrays have it.
        scale, offset: What the network's first operation is given, ``value * scale + offset``; None for the
            usual: pixels / 255, other values as they are.
    """

    name: str
    parts: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    shape: Shape | None = None
    datatype: Datatype | None = None
    scale: float | None = None
    offset: float | None = None


def short_name(path: Path) -> str:
    """The name of the data set in *path*, as bundles and boards take one: "my-digits" of "My digits.npz"."""
    plain = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:56] or "data"
    return f"own-{plain}" if plain in DATASETS else plain


def read_definition(path: Path) -> Definition:
    """The data set that the file *path* describes.

    Raises:
        ArtifactError: the file cannot be read, is not TOML, or has a wrong value.
    """
    origin = Origin(str(path), "docs/own-data.md has an example")
    record = read_toml(path, MAX_DEFINITION_BYTES, origin).fields((), FIELDS, "key")
    if not any(split in record for split in SPLITS):
        raise origin.fault('there is neither test nor train, for example test = "npz:FILE"')
    name = record["name"].text(MAX_NAME, NAME, NAME_WANTED) if "name" in record else short_name(path)
    if name in DATASETS:
        raise ArtifactError(
            f"{path}: name is {name!r}, which is the name of one of labd's own data sets",
            fix=f'give it another: name = "my-{name}"',
        )
    classes = record["classes"].list(1, MAX_OWN_CLASSES) if "classes" in record else []
    return Definition(
        name=name,
        parts={split: _part(record[split], path.parent) for split in SPLITS if split in record},
        class_names=tuple(each.text(MAX_NAME) for each in classes),
        shape=_shape(record["shape"]) if "shape" in record else None,
        datatype=_datatype(record["datatype"]) if "datatype" in record else None,
        scale=record["scale"].number() if "scale" in record else None,
        offset=record["offset"].number() if "offset" in record else None,
    )


def _part(value: Value, folder: Path) -> str:
    kind, _, path = value.text(MAX_NAME, PART, PART_WANTED).partition(":")
    return f"{kind}:{folder / Path(path).expanduser()}"


def _shape(value: Value) -> Shape:
    axes = value.list()
    if len(axes) not in (1, 3):
        value.refuse("[height, width, channels] or [values]")
    shape = tuple(axis.integer(1, MAX_VALUES) for axis in axes)
    if count(shape) > MAX_VALUES:
        value.refuse(f"a frame of at most {MAX_VALUES} values")
    return shape


def _datatype(value: Value) -> Datatype:
    try:
        found = parse_datatype(value.text(MAX_NAME))
    except DatatypeError as error:
        raise value.origin.fault(f"datatype: {error.what}") from error
    if found.fraction_bits:
        value.refuse("a datatype of integers")
    return found
