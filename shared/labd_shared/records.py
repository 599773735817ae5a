"""Read records from outside, JSON or the tables of a TOML file: bounded, then value by value with its type.

Parsing refuses what no record of labd needs: too many bytes, deep nesting, a key that stands twice, numbers
that are not finite or have more than 64 bits. It gives a `Value`, which knows its place in the file, and whose
texts and lists are bounded when they are taken. A refusal reads ``FILE: path.to.field is VALUE, WANTED is wanted``.
"""

import json
import math
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, NoReturn, Optional, Pattern, Tuple, Type, Union

from labd_shared.errors import ArtifactError, LabdError, unknown_name
from labd_shared.files import read_bounded

MAX_DEPTH = 32  # lists and objects inside each other
MAX_TEXT = 1 << 16  # characters of a text or a key
MAX_NAME = 1000  # characters of a text that names something
MAX_ENTRIES = 1 << 16  # of a list or an object
LOWEST, HIGHEST = -(1 << 63), (1 << 64) - 1
MAX_DIGITS = 20  # of a whole number of 64 bits, its sign counted
SHOWN = 60  # characters of a refused value


class Origin(NamedTuple):
    """Where a record comes from, and how its faults are raised.

    Attributes:
        name: The file, as the user knows it: "manifest.json".
        fix: What to do when it is wrong.
        error: The class of its faults.
    """

    name: str
    fix: str = ""
    error: Type[LabdError] = ArtifactError

    def fault(self, what: str) -> LabdError:
        """The error of this file that says *what*."""
        return self.error("{}: {}".format(self.name, what), fix=self.fix)


class Value(object):
    """A value of a record, which the caller takes as the type it needs.

    Attributes:
        raw: As it was parsed.
        path: Its place in the file: "inputs[0].datatype", "" for the whole.
        origin: Of the file.
    """

    __slots__ = ("raw", "path", "origin")

    def __init__(self, raw: Any, origin: Origin, path: str = "") -> None:
        self.raw = raw
        self.path = path
        self.origin = origin

    def refuse(self, wanted: str) -> NoReturn:
        """Raise that the value is not what is *wanted*: "a whole number"."""
        raise self.origin.fault(
            "{} is {}, {} is wanted".format(self.path or "the content", _shown(self.raw), wanted)
        )

    def text(self, most: int = MAX_TEXT, pattern: Optional[Pattern[str]] = None, wanted: str = "") -> str:
        """The text, of *most* characters and wholly of *pattern*; *wanted* says in words what that means."""
        if not isinstance(self.raw, str) or len(self.raw) > most:
            self.refuse(
                wanted or ("text" if most == MAX_TEXT else "a text of at most {} characters".format(most))
            )
        if pattern is not None and not pattern.fullmatch(self.raw):
            self.refuse(wanted or "text of the form {}".format(pattern.pattern))
        return self.raw

    def integer(self, low: int = LOWEST, high: int = HIGHEST) -> int:
        """The whole number, from *low* to *high*; ``true`` is not one."""
        if type(self.raw) is not int or not low <= self.raw <= high:
            self.refuse("a whole number" + _between(low, high))
        return int(self.raw)

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """The finite number, whole or not, from *low* to *high*."""
        if type(self.raw) not in (int, float) or not low <= self.raw <= high or not math.isfinite(self.raw):
            self.refuse("a number" + _between(low, high))
        return float(self.raw)

    def truth(self) -> bool:
        """True or false."""
        if type(self.raw) is not bool:
            self.refuse("true or false")
        return bool(self.raw)

    def choice(self, known: Iterable[str]) -> str:
        """One of the texts *known*."""
        listed = tuple(known)
        if not isinstance(self.raw, str) or self.raw not in listed:
            self.refuse("one of {}".format(", ".join(listed)))
        return self.raw

    def list(self, least: int = 0, most: int = MAX_ENTRIES) -> "List[Value]":
        """The entries of a list, *least* to *most* of them."""
        if not isinstance(self.raw, list) or not least <= len(self.raw) <= most:
            bounds = "" if (least, most) == (0, MAX_ENTRIES) else " of {} to {} entries".format(least, most)
            self.refuse("a list" + bounds)
        return [
            Value(entry, self.origin, "{}[{}]".format(self.path, index))
            for index, entry in enumerate(self.raw)
        ]

    def entries(self, most: int = MAX_ENTRIES) -> "Dict[str, Value]":
        """The values of an object whose keys may be any text, at most *most*."""
        if not isinstance(self.raw, dict) or len(self.raw) > most:
            self.refuse(
                "an object" if most == MAX_ENTRIES else "an object of at most {} entries".format(most)
            )
        return {key: Value(entry, self.origin, self.below(key)) for key, entry in self.raw.items()}

    def fields(
        self, required: Iterable[str], optional: Optional[Iterable[str]] = (), kind: str = ""
    ) -> "Dict[str, Value]":
        """The values of an object with these fields.

        Args:
            required: Fields that must be there.
            optional: Others that may be there; None where a newer writer may have added any.
            kind: What a field is called where a wrong one is a name that the user mistyped: an
                `labd_shared.errors.UnknownName` then offers the nearest.

        Raises:
            LabdError: of the origin's class: not an object, a field missing or unknown.
            UnknownName: a field unknown, where *kind* is given.
        """
        found, wanted = self.entries(), tuple(required)
        if optional is not None:
            known = wanted + tuple(optional)
            for name in found:
                if name not in known:
                    self._refuse_field(name, known, kind)
        for name in wanted:
            if name not in found:
                raise self.origin.fault("{} is missing".format(self.below(name)))
        return found

    def of_format(self, name: str, version: int, fix: str = "") -> "Value":
        """The object itself, whose fields ``format`` and ``version`` must be these.

        Args:
            name, version: Wanted.
            fix: What to do about another version, where it is not the origin's.
        """
        found = self.entries()
        if "format" not in found or found["format"].raw != name:
            told = found["format"].raw if "format" in found else None
            raise self.origin.fault("the format is {}, not {!r}".format(_shown(told), name))
        if "version" not in found or type(found["version"].raw) is not int or found["version"].raw != version:
            told = found["version"].raw if "version" in found else None
            raise self.origin._replace(fix=fix or self.origin.fix).fault(
                "the version of {} is {}, this labd reads {}".format(name, _shown(told), version)
            )
        return self

    def _refuse_field(self, name: str, known: Tuple[str, ...], kind: str) -> NoReturn:
        if kind:
            raise unknown_name(
                "{} in {}".format(kind, self.origin.name), name[:SHOWN], known, self.origin.fix
            )
        raise self.origin.fault("{} is unknown; known: {}".format(self.below(name), ", ".join(sorted(known))))

    def below(self, name: str) -> str:
        """The path of the object's field *name*, fit to be printed."""
        shown = name if name.isprintable() and len(name) <= SHOWN else ascii(name[:SHOWN])
        return "{}.{}".format(self.path, shown) if self.path else shown


def read_json(path: Union[str, Path], max_bytes: int, origin: Optional[Origin] = None) -> Value:
    """The record in the file *path*.

    Args:
        path: Of the file.
        max_bytes: A larger one is not read.
        origin: Of its faults; an ArtifactError with the file's name when None.

    Raises:
        LabdError: of the origin's class: it cannot be read, is too large, or is not JSON within the bounds.
    """
    source = Origin(Path(str(path)).name) if origin is None else origin
    return parse_json(read_bounded(path, max_bytes, source.fix, source.error), max_bytes, source)


def parse_json(content: Union[str, bytes], max_bytes: int, origin: Origin) -> Value:
    """The record in *content*; arguments and errors as of `read_json`."""
    if len(content) > max_bytes:
        raise origin.fault("{} bytes are more than {}".format(len(content), max_bytes))
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        raw = json.loads(text, parse_int=_whole, object_pairs_hook=_without_twins)
    except ValueError as error:
        raise origin.fault("not JSON: {}".format(error)) from error
    except RecursionError as error:
        raise origin.fault(_TOO_DEEP) from error
    return bounded(raw, origin)


def bounded(raw: Any, origin: Origin) -> Value:
    """*raw*, lists and mappings of plain values from any parser, after the check that the bounds hold in it.

    Raises:
        LabdError: of the origin's class: one does not.
    """
    level, depth = [raw], 0
    while level:
        below = []  # type: List[Any]
        for value in level:
            if isinstance(value, (dict, list)):
                if depth == MAX_DEPTH:
                    raise origin.fault(_TOO_DEEP)
                below.extend(value)
                if isinstance(value, dict):
                    below.extend(value.values())
            elif _fault(value):
                _refuse_first(Value(raw, origin))
        level, depth = below, depth + 1
    return Value(raw, origin)


_TOO_DEEP = "lists and objects are nested more than {} deep".format(MAX_DEPTH)


def _fault(value: Any) -> str:
    """What is wanted in place of a value that is neither list nor object, "" where it is sound."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
            return ""
        except UnicodeEncodeError:  # half of a pair of surrogates
            return "text of Unicode"
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "" if LOWEST <= value <= HIGHEST else "a whole number of 64 bits"
    return "" if isinstance(value, float) and math.isfinite(value) else "a finite number, text, true or false"


def _refuse_first(value: Value) -> None:
    """Refuse the first fault in *value*, whose path the fast check has not kept."""
    raw = value.raw
    if isinstance(raw, dict):
        for key, entry in raw.items():
            if _fault(key):
                Value(key, value.origin, value.path).refuse(_fault(key))
            _refuse_first(Value(entry, value.origin, value.below(key)))
    elif isinstance(raw, list):
        for index, entry in enumerate(raw):
            _refuse_first(Value(entry, value.origin, "{}[{}]".format(value.path, index)))
    elif _fault(raw):
        value.refuse(_fault(raw))


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("the number {}... has more than 64 bits".format(digits[:MAX_DIGITS]))
    return int(digits)


def _without_twins(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise ValueError("the key {!r} stands twice in an object".format(twin[:SHOWN]))
    return record


def _between(low: float, high: float) -> str:
    if low in (LOWEST, -math.inf):
        return "" if high in (HIGHEST, math.inf) else " of at most {}".format(high)
    return " from {} on".format(low) if high in (HIGHEST, math.inf) else " from {} to {}".format(low, high)


def _shown(raw: Any) -> str:
    """*raw* in a few words, however large it is."""
    if isinstance(raw, dict):
        return "an object of {} fields".format(len(raw))
    if isinstance(raw, list):
        return "a list of {} entries".format(len(raw))
    if isinstance(raw, str):
        return ascii(raw) if len(raw) <= SHOWN else ascii(raw[:SHOWN]) + "..."
    if raw is None or isinstance(raw, bool):
        return {None: "null", True: "true", False: "false"}[raw]
    if isinstance(raw, int) and not LOWEST <= raw <= HIGHEST:
        return "a number of {} bits".format(raw.bit_length())
    return "{!r}".format(raw)
