"""Frozen dataclasses to JSON and back; what is read back is checked field by field.

No file is trusted when it is read again: another labd wrote it, a disk filled up, or somebody edited it. A
field too many, one that is missing, or one of another type makes the whole file worthless.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union

from labd_shared.errors import LabdError
from labd_shared.files import ANY_FILE, write_text
from labd_shared.records import Origin, Value, read_json

T = TypeVar("T")
MAX_TEXT = 10_000  # characters of a single string
MAX_ENTRIES = 10_000  # of a list or an object


def to_record(value: Any) -> Any:
    """*value*, a dataclass of numbers, texts, paths, tuples, mappings and dataclasses, as JSON has it."""
    if is_dataclass(value):
        return {each.name: to_record(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_record(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [to_record(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def write_record(path: Path, value: Any, mode: int = ANY_FILE) -> None:
    """Write *value*, which `to_record` takes, to the file *path* in one step, with the permissions *mode*.

    Raises:
        OSError: it cannot be written there.
    """
    write_text(path, json.dumps(to_record(value), indent=1, allow_nan=False) + "\n", mode)


def read_record(kind: type[T], path: Path, max_bytes: int, origin: Origin) -> T:
    """The *kind* in the JSON file *path*; errors as of `from_record`."""
    return from_record(kind, read_json(path, max_bytes, origin))


def find_record(kind: type[T], path: Path, max_bytes: int) -> T | None:
    """The *kind* in the JSON file *path*; None where no file holds one, for what can be made again."""
    try:
        return read_record(kind, path, max_bytes, Origin(path.name))
    except LabdError:
        return None


def from_record(kind: type[T], value: Value) -> T:
    """The *kind* that `to_record` made *value* of.

    Raises:
        LabdError: of the class of the value's origin, or the dataclass's own: it is not such a record; the
            message names the field.
    """
    return typing.cast(T, _read(kind, value))


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, value: Value) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(typing.cast(Hashable, kind))  # mypy sees no hash in type[Any]
        return kind(**{name: _read(hints[name], entry) for name, entry in _fields(kind, value).items()})
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(typing.get_args(kind), value)
    if origin is tuple or origin is list:
        (entry, *_) = typing.get_args(kind)
        return origin(_read(entry, each) for each in value.list(most=MAX_ENTRIES))
    if origin is not None and issubclass(origin, Mapping):
        _, entry = typing.get_args(kind)
        return {key: _read(entry, each) for key, each in value.entries(MAX_ENTRIES).items()}
    return _READERS[kind](value)


def _fields(kind: type[Any], value: Value) -> dict[str, Value]:
    return value.fields(tuple(each.name for each in fields(kind)))


def _read_union(kinds: tuple[Any, ...], value: Value) -> Any:
    if value.raw is None and type(None) in kinds:
        return None
    for kind in kinds:
        if kind is not type(None):
            try:
                return _read(kind, value)
            except LabdError:
                continue
    value.refuse(" or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds))


def _number(value: Value) -> Any:
    value.number()
    return value.raw  # 100 stays 100: what is written again has the same digest


_READERS: dict[Any, Any] = {
    float: _number,
    int: Value.integer,
    bool: Value.truth,
    str: lambda value: value.text(MAX_TEXT),
    Path: lambda value: Path(value.text(MAX_TEXT)),
}
