"""The values that expressions of a Python script stand for, read from its syntax tree: nothing is executed.

Known are constants, names that are given constants, texts put together of them (``+``, ``%``, ``.format``,
f-strings), paths (``os.path.join``, ``Path``, ``__file__``), sums and quotients, lists and dictionaries, and the
members of FINN's enumerations. Everything else is `Unresolved`, with the reason.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_DEPTH = 50  # expressions and names inside each other
MAX_ENTRIES = 1000
MAX_CHARACTERS = 1 << 12

# Members of FINN's enumerations whose values, which its files have, are not their names in small letters.
MEMBERS = {
    "OOC_SYNTH": "out_of_context_synth",
    "DISTRIBUTED_SIMULATION": "distributed_sim",
    "QONNX_TO_FINN_PYTHON": "finn_onnx_python",
    "TIDY_UP_PYTHON": "initial_python",
}
ENUMERATIONS = (
    "DataflowOutputType", "AutoFIFOSizingMethod", "ShellFlowType", "VerificationStepType", "LargeFIFOMemStyle",
    "VitisOptStrategy", "VitisOptStrategyCfg", "FpgaMemoryType", "LogLevel", "FifosimCommMode",
)  # fmt: skip

_PLACEHOLDER = re.compile(r"%(.)", re.DOTALL)


class Unresolved(Exception):
    """An expression whose value the script's text alone does not say; the message is the reason."""


@dataclass(frozen=True)
class _Turns:
    """What a loop goes through."""

    entries: ast.expr


class Scope:
    """The names of a module or a function, with what is assigned to them.

    Attributes:
        name: Of the function, "" for the module.
        outer: The scope around it.
    """

    def __init__(self, name: str, outer: Scope | None) -> None:
        self.name, self.outer = name, outer
        self._given: dict[str, list[tuple[int, ast.expr | _Turns | str]]] = {}
        self._known: dict[str, Any] = {}

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        """Note ``target = value``."""
        if isinstance(target, ast.Name):
            self._given.setdefault(target.id, []).append((target.lineno, value))
        elif isinstance(target, ast.Tuple | ast.List):
            sides = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            if len(sides) == len(target.elts) and not any(
                isinstance(side, ast.Starred) for side in target.elts
            ):
                for each, side in zip(target.elts, sides, strict=True):
                    self.assign(each, side)
            else:
                self.hide(target, "is one of several values")

    def loop(self, target: ast.expr, turns: ast.expr) -> None:
        """Note ``for target in turns``."""
        if isinstance(target, ast.Name):
            self._given.setdefault(target.id, []).append((target.lineno, _Turns(turns)))
        else:
            self.hide(target, "is one of several values")

    def hide(self, target: ast.AST, reason: str) -> None:
        """Note that the names in *target* become something that only a run knows, for *reason*."""
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                self._given.setdefault(node.id, []).append((node.lineno, f"{node.id} {reason}"))

    def hide_name(self, name: str, line: int, reason: str) -> None:
        """The same for a name that is not an expression: of a parameter, an import, a function."""
        self._given.setdefault(name, []).append((line, f"{name} {reason}"))

    def value(self, name: str, reader: Reader) -> Any:
        """What *name* stands for here.

        Raises:
            Unresolved: the text does not say it.
        """
        if name not in self._given:
            if self.outer is None:
                raise Unresolved(f"{name} is not assigned in the script")
            return self.outer.value(name, reader)
        if name not in self._known:
            self._known[name] = Unresolved(f"{name} is made of itself")  # while it is looked up
            self._known[name] = self._found(name, reader)
        known = self._known[name]
        if isinstance(known, Unresolved):
            raise known
        return known

    def _found(self, name: str, reader: Reader) -> Any:
        values = []
        for line, given in self._given[name]:
            if isinstance(given, str):
                return Unresolved(f"{given} (line {line})")
            try:
                if isinstance(given, _Turns):
                    values.append(reader.turn(name, reader.value(given.entries, self), line))
                else:
                    values.append(reader.value(given, self))
            except Unresolved as error:
                return error
        if any(value != values[0] or type(value) is not type(values[0]) for value in values):
            lines = ", ".join(str(line) for line, _ in self._given[name])
            return Unresolved(f"{name} has {len(values)} values (lines {lines})")
        return values[0]


class Reader:
    """Reads expressions of one script.

    Args:
        script: The file, for ``__file__``.
        preferred: Of a loop's turns that with the first of these values is taken.

    Attributes:
        chosen: Name of such a loop -> the value that was taken, and why.
    """

    def __init__(self, script: Path, preferred: Sequence[str] = ()) -> None:
        self._script, self._preferred = script, preferred
        self._depth = 0
        self.chosen: dict[str, tuple[str, str]] = {}

    def turn(self, name: str, turns: Any, line: int) -> Any:
        """The value of *name*, which goes through *turns* in a loop.

        Raises:
            Unresolved: it has several, and none of them is preferred.
        """
        if not isinstance(turns, list):
            raise Unresolved(f"{name} goes through what is not a list (line {line})")
        if len(turns) == 1:
            return turns[0]
        for value in self._preferred:
            if value in turns:
                self.chosen[name] = (value, f"taken of the {len(turns)} values of line {line}")
                return value
        raise Unresolved(f"{name} goes through {len(turns)} values (line {line})")

    def value(self, node: ast.expr, scope: Scope) -> Any:
        """What *node* stands for in *scope*.

        Raises:
            Unresolved: the text does not say it, or it is too large.
        """
        if self._depth == MAX_DEPTH:
            raise Unresolved(f"it is nested more than {MAX_DEPTH} deep")
        self._depth += 1
        try:
            return self._bounded(self._read(node, scope))
        finally:
            self._depth -= 1

    def _read(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return value
            case ast.Name(id="__file__"):
                return str(self._script.absolute())
            case ast.Name(id=name):
                return scope.value(name, self)
            case ast.List(elts=entries) | ast.Tuple(elts=entries):
                return [self.value(entry, scope) for entry in entries]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                pairs = zip(keys, values, strict=True)
                return {self._text(key, scope): self.value(entry, scope) for key, entry in pairs if key}
            case ast.JoinedStr(values=parts):
                return "".join(self._part(part, scope) for part in parts)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -_number(self.value(operand, scope))
            case ast.BinOp(left=left, op=operator, right=right):
                return _combined(self.value(left, scope), operator, self.value(right, scope))
            case ast.Subscript(value=whole, slice=index):
                return _entry(self.value(whole, scope), self.value(index, scope))
            case ast.Attribute():
                return self._attribute(node, scope)
            case ast.Call():
                return self._call(node, scope)
        raise Unresolved(f"{shown(node)} is not a constant")

    def _part(self, part: ast.expr, scope: Scope) -> str:
        match part:
            case ast.Constant(value=str() as text):
                return text
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=None):
                return _as_text(self.value(inner, scope))
        raise Unresolved(f"{shown(part)} is formatted")

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        names = dotted(node).split(".")
        if len(names) > 1 and names[-2] in ENUMERATIONS:
            return MEMBERS.get(names[-1], names[-1].lower())
        if node.attr == "parent":
            return str(Path(self._text(node.value, scope)).parent)
        raise Unresolved(f"{shown(node)} is not a constant")

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        name = dotted(node.func)
        last = name.rpartition(".")[2]
        if any(isinstance(argument, ast.Starred) for argument in node.args) or any(
            keyword.arg is None for keyword in node.keywords
        ):
            raise Unresolved(f"{shown(node)} takes arguments by star")
        if last == "dict" and not node.args:
            return {str(keyword.arg): self.value(keyword.value, scope) for keyword in node.keywords}
        if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            return self._formatted(node, node.func.value, scope)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _OF_PATHS and not node.args:
            return self._text(node.func.value, scope)
        if node.keywords:
            raise Unresolved(f"{shown(node)} is computed")
        for known in ("os.path.join", "path.join", "pathlib.Path", "Path"):
            if name == known and node.args:
                return str(Path(*(self._text(argument, scope) for argument in node.args)))
        if len(node.args) == 1:
            if name in ("str", "os.path.abspath", "os.path.realpath", "os.path.expanduser", "os.fspath"):
                return _as_text(self.value(node.args[0], scope))
            if name == "os.path.dirname":
                return str(Path(self._text(node.args[0], scope)).parent)
            if name in ("int", "float"):
                return (int if name == "int" else float)(_number(self.value(node.args[0], scope)))
            if last in ENUMERATIONS:
                return self._text(node.args[0], scope)
        raise Unresolved(f"{shown(node)} is computed")

    def _formatted(self, node: ast.Call, template: ast.expr, scope: Scope) -> str:
        """``template.format(...)`` with plain placeholders."""
        given = {str(keyword.arg): self.value(keyword.value, scope) for keyword in node.keywords}
        given |= {str(index): self.value(argument, scope) for index, argument in enumerate(node.args)}
        parts, automatic = [], iter(range(MAX_ENTRIES))
        try:
            for text, field, spec, conversion in string.Formatter().parse(self._text(template, scope)):
                parts.append(text)
                if field is not None:
                    if spec or conversion:
                        raise Unresolved(f"{shown(node)} is formatted")
                    parts.append(_as_text(given[field or str(next(automatic))]))
        except (KeyError, ValueError, StopIteration) as error:
            raise Unresolved(f"{shown(node)} is formatted") from error
        return "".join(parts)

    def _text(self, node: ast.expr, scope: Scope) -> str:
        value = self.value(node, scope)
        if not isinstance(value, str):
            raise Unresolved(f"{shown(node)} is not a text")
        return value

    @staticmethod
    def _bounded(value: Any) -> Any:
        if isinstance(value, str) and len(value) > MAX_CHARACTERS:
            raise Unresolved(f"it has more than {MAX_CHARACTERS} characters")
        if isinstance(value, list | dict) and len(value) > MAX_ENTRIES:
            raise Unresolved(f"it has more than {MAX_ENTRIES} entries")
        return value


_OF_PATHS = ("resolve", "absolute", "as_posix", "expanduser")


def dotted(node: ast.expr) -> str:
    """``a.b.c`` as text, "" for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def shown(node: ast.AST) -> str:
    """The source of *node*, at most 60 characters of it."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _as_text(value: Any) -> str:
    if isinstance(value, list | dict):
        raise Unresolved("a list is not a text")
    return str(value)


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e18:
        raise Unresolved(f"{value!r:.60} is not a number")
    return value


def _entry(whole: Any, index: Any) -> Any:
    try:
        if isinstance(whole, list) and isinstance(index, int):
            return whole[index]
        if isinstance(whole, dict) and isinstance(index, str):
            return whole[index]
    except (IndexError, KeyError) as error:
        raise Unresolved(f"there is no entry {index!r:.60}") from error
    raise Unresolved(f"an entry {index!r:.60} of something else than a list")


def _combined(left: Any, operator: ast.operator, right: Any) -> Any:
    if isinstance(operator, ast.Mod) and isinstance(left, str):
        return _percent(left, right if isinstance(right, list) else [right])
    if isinstance(operator, ast.Div) and isinstance(left, str) and isinstance(right, str):
        return str(Path(left) / right)
    if isinstance(operator, ast.Add) and type(left) is type(right) and isinstance(left, str | list):
        return left + right
    compute = _ARITHMETIC.get(type(operator))
    if compute is None:
        raise Unresolved("it is computed")
    try:
        return compute(_number(left), _number(right))
    except (ZeroDivisionError, OverflowError) as error:
        raise Unresolved("it divides by zero") from error


_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Pow: lambda left, right: _power(left, right),
}


def _power(base: int | float, exponent: int | float) -> int | float:
    if not 0 <= exponent <= 20 or abs(base) > 1000:
        raise Unresolved("it is too large a power")
    return base**exponent


def _percent(template: str, values: list[Any]) -> str:
    """``template % values`` with %s, %d and %%."""
    left = list(values)

    def fill(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        if match[1] not in "sdi" or not left:
            raise Unresolved(f"{template[:60]!r} is formatted")
        return _as_text(left.pop(0))

    text = _PLACEHOLDER.sub(fill, template)
    if left:
        raise Unresolved(f"{template[:60]!r} is formatted")
    return text
