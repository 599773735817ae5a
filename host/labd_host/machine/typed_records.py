"""Frozen dataclasses to JSON and back; what is read back is checked field by field.

No file of a study is trusted when it is read again: another labd wrote it, a disk filled up, or somebody
edited it. A field too many, one that is missing, or one of another type makes the whole file worth nothing.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union

T = TypeVar("T")
MAX_TEXT = 10_000  # characters of a single string
MAX_ENTRIES = 10_000  # of a list or an object


def to_record(value: Any) -> Any:
    """*value*, a dataclass of numbers, texts, tuples, mappings and dataclasses, as JSON has it."""
    if is_dataclass(value):
        return {each.name: to_record(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_record(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [to_record(entry) for entry in value]
    return value


def from_record(kind: type[T], record: Any) -> T:
    """The *kind* that `to_record` made *record* of.

    Raises:
        ValueError: it is no such record; the message names the field.
    """
    return typing.cast(T, _read(kind, record, kind.__name__))


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, record: Any, where: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, record, where)
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(typing.get_args(kind), record, where)
    if origin is tuple or origin is list:
        (entry, *_) = typing.get_args(kind)
        if not isinstance(record, list) or len(record) > MAX_ENTRIES:
            raise ValueError(f"{where} is no list")
        return origin(_read(entry, each, f"{where}[{index}]") for index, each in enumerate(record))
    if origin is not None and issubclass(origin, Mapping):
        _, entry = typing.get_args(kind)
        return {key: _read(entry, each, f"{where}.{key}") for key, each in _object(record, where).items()}
    return _read_plain(kind, record, where)


def _read_dataclass(kind: type[Any], record: Any, where: str) -> Any:
    wanted = [each.name for each in fields(kind)]
    found = _object(record, where)
    if set(found) != set(wanted):
        raise ValueError(f"{where} has the fields {', '.join(found)}, not {', '.join(wanted)}")
    hints = _hints(typing.cast(Hashable, kind))  # mypy sees no hash in type[Any]
    return kind(**{name: _read(hints[name], found[name], f"{where}.{name}") for name in wanted})


def _read_union(kinds: tuple[Any, ...], record: Any, where: str) -> Any:
    if record is None and type(None) in kinds:
        return None
    for kind in kinds:
        if kind is not type(None):
            try:
                return _read(kind, record, where)
            except ValueError:
                continue
    raise ValueError(f"{where} is {record!r:.60}")


def _read_plain(kind: Any, record: Any, where: str) -> Any:
    if kind is float and type(record) in (int, float) and math.isfinite(record):
        return record
    if kind is str and isinstance(record, str) and len(record) <= MAX_TEXT:
        return record
    if kind is int and type(record) is int:
        return record
    raise ValueError(f"{where} is {record!r:.60}, no {kind.__name__}")


def _object(record: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(record, dict) or len(record) > MAX_ENTRIES:
        raise ValueError(f"{where} is no object")
    return record
