"""FINN's driver.py, read as a syntax tree and never executed.

Only literals are taken: numbers, texts, tuples, lists, dictionaries and ``DataType['UINT8']``, or
``DataType.UINT8`` as in 2021. Anything else in io_shape_dict, and any code that changes it, is refused.

Source: Xilinx/finn v0.5 to v0.10, transformation/fpgadataflow/template_driver.py.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, NoReturn

from labd_shared.errors import ArtifactError

DRIVER = "driver.py"
DICTIONARY = "io_shape_dict"
MAX_DEPTH = 8
CHANGING = {"update", "pop", "popitem", "clear", "setdefault", "__setitem__"}


@dataclass(frozen=True)
class DriverFile:
    """What a driver.py says.

    Attributes:
        io_shapes: io_shape_dict; datatypes as their names.
        fclk_mhz: What it hands to the overlay, None where it leaves FINN's default of 100 MHz.
        platform: "zynq-iodma", "alveo", or "" where it does not say.
    """

    io_shapes: dict[str, Any]
    fclk_mhz: float | None
    platform: str


def parse_driver(content: bytes, name: str = DRIVER) -> DriverFile:
    """Read a driver.py.

    Raises:
        ArtifactError: no Python, no io_shape_dict, or something in it that is no literal; names line
            and construct.
    """
    try:
        tree = ast.parse(content)
        return DriverFile(_io_shapes(tree, name), _fclk_mhz(tree), _platform(tree))
    except (SyntaxError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ArtifactError(f"{name}{line} is no Python: {error}", fix=_COPY) from error
    except (RecursionError, MemoryError) as error:
        raise ArtifactError(f"{name} is nested too deeply to be a driver", fix=_COPY) from error


_COPY = "copy the driver.py that FINN generated for this bitfile"
_PLAIN = "write plain numbers, tuples, lists and DataType['...'] there; drivers are read, never run"


def _io_shapes(tree: ast.Module, name: str) -> dict[str, Any]:
    found = []
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == DICTIONARY for target in targets):
            found.append(node)
    if len(found) != 1 or not isinstance(found[0], ast.Assign | ast.AnnAssign):
        lines = ", ".join(str(node.lineno) for node in found)
        raise ArtifactError(
            f"{name} assigns {DICTIONARY} {len(found)} times" + (f" (lines {lines})" if lines else ""),
            fix=_COPY,
        )
    _refuse_changes(tree, found[0], name)
    value = found[0].value
    if not isinstance(value, ast.Dict):
        _refuse(name, value or found[0], "instead of a dictionary")
    shapes: dict[str, Any] = _literal(value, name, 0)
    return shapes


def _refuse_changes(tree: ast.Module, assignment: ast.stmt, name: str) -> None:
    """The dictionary must be what stands there: nothing may assign it again, or change it."""
    own = set(ast.walk(assignment))
    for node in ast.walk(tree):
        if node in own:
            continue
        written = isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)
        if written and isinstance(node, ast.Name) and node.id == DICTIONARY:
            _refuse(name, node, f"that assigns {DICTIONARY} again")
        if written and isinstance(node, ast.Subscript) and _is_dictionary(node.value):
            _refuse(name, node, f"that changes {DICTIONARY}")
        if isinstance(node, ast.Attribute) and node.attr in CHANGING and _is_dictionary(node.value):
            _refuse(name, node, f"that changes {DICTIONARY}")


def _is_dictionary(node: ast.expr) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == DICTIONARY


def _literal(node: ast.expr | None, name: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ArtifactError(f"{name} nests {DICTIONARY} more than {MAX_DEPTH} deep", fix=_COPY)
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Tuple(elts=items) | ast.List(elts=items):
            values = [_literal(item, name, depth + 1) for item in items]
            return tuple(values) if isinstance(node, ast.Tuple) else values
        case ast.Dict(keys=keys, values=items):
            record = {}
            for key, item in zip(keys, items, strict=True):
                if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                    _refuse(name, key or item, "as a key")
                if key.value in record:
                    raise ArtifactError(
                        f"{name}, line {key.lineno}: the key {key.value!r} stands twice", fix=_COPY
                    )
                record[key.value] = _literal(item, name, depth + 1)
            return record
        case ast.Subscript(value=ast.Name(id="DataType"), slice=ast.Constant(value=str() as kind)):
            return kind
        case ast.Attribute(value=ast.Name(id="DataType"), attr=kind):  # an enumeration until v0.6
            return kind
        case None:
            raise ArtifactError(f"{name} gives {DICTIONARY} no value", fix=_COPY)
    return _refuse(name, node, f"in {DICTIONARY}")


def _refuse(name: str, node: ast.AST, where: str) -> NoReturn:
    shown = ast.unparse(node)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    line = getattr(node, "lineno", 0)
    raise ArtifactError(
        f"{name}, line {line}: {type(node).__name__} {shown!r} {where}; only literals are read",
        fix=_PLAIN,
        line=line,
        construct=type(node).__name__,
    )


def _fclk_mhz(tree: ast.Module) -> float | None:
    """A number handed over as ``fclk_mhz=...``, None where there is none or several."""
    values = {
        float(keyword.value.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "fclk_mhz"
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, int | float)
    }
    return values.pop() if len(values) == 1 else None


def _platform(tree: ast.Module) -> str:
    """``platform = "..."``, or the default of the option --platform."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id="platform")], value=ast.Constant(value=str() as value)):
                return value
            case ast.Call(args=[ast.Constant(value="--platform"), *_], keywords=keywords):
                for keyword in keywords:
                    if keyword.arg == "default" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value)
    return ""
