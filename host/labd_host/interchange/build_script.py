"""A FINN build script (build.py): the keywords of its ``DataflowBuildConfig(...)``, read from the syntax tree.

The script is never executed. What its text alone does not say (a loop over several boards, an argument of the
command line) is left unresolved, with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labd_host.interchange.script_values import Reader, Scope, Unresolved, dotted, shown
from labd_shared.files import read_bounded
from labd_shared.records import Origin

MAX_SCRIPT_BYTES = 1 << 20
CLASS, BUILD = "DataflowBuildConfig", "build_dataflow_cfg"


@dataclass(frozen=True)
class ScriptConfig:
    """What a build script says.

    Attributes:
        fields: Field of the configuration -> value.
        unresolved: Field -> its source, and why its value is not known.
        chosen: Name of a loop with several turns -> the value that was taken, and why.
        model: The file that is built, as the script names it; None where its text does not say.
        line: Of the configuration.
        others: Lines of further configurations.
    """

    fields: dict[str, Any]
    unresolved: dict[str, tuple[str, str]]
    chosen: dict[str, tuple[str, str]]
    model: str | None
    line: int
    others: tuple[int, ...]


@dataclass
class _Found:
    """The calls and attribute assignments of a script, each with its scope."""

    names: set[str] = field(default_factory=lambda: {CLASS})
    configs: list[tuple[ast.Call, Scope]] = field(default_factory=list)
    builds: list[tuple[ast.Call, Scope]] = field(default_factory=list)
    assigned: dict[ast.Call, str] = field(default_factory=dict)  # configuration -> variable
    changes: list[tuple[str, ast.Attribute, ast.expr, Scope]] = field(default_factory=list)


def read_build_script(path: Path, origin: Origin, preferred: Sequence[str] = ()) -> ScriptConfig:
    """The configuration in the script *path*: the last, where it has several.

    Args:
        path: The script.
        origin: Of its faults.
        preferred: Of a loop's turns that with the first of these values is taken.

    Raises:
        LabdError: of the origin's class: it cannot be read, is not Python, or has no configuration.
    """
    content = read_bounded(path, MAX_SCRIPT_BYTES, origin.fix, origin.error)
    try:
        tree = ast.parse(content)
        found = _Found()
        _Collector(found).visit(tree)
        configs = sorted(found.configs, key=lambda entry: entry[0].lineno)
        if not configs:
            raise origin.fault(f"there is no {CLASS}(...) in it")
        return _read(
            Reader(path, preferred), found, *configs[-1], tuple(call.lineno for call, _ in configs[:-1])
        )
    except (SyntaxError, ValueError) as error:
        raise origin.fault(f"not Python: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise origin.fault("not Python that labd reads: it is nested too deep") from error


def _read(
    reader: Reader, found: _Found, call: ast.Call, scope: Scope, others: tuple[int, ...]
) -> ScriptConfig:
    known: dict[str, Any] = {}
    unresolved: dict[str, tuple[str, str]] = {}

    def take(name: str, node: ast.expr) -> None:
        known.pop(name, None)
        unresolved.pop(name, None)
        try:
            known[name] = reader.value(node, scope)
        except Unresolved as error:
            unresolved[name] = (shown(node), str(error))

    for index, argument in enumerate(call.args):
        unresolved[f"argument {index + 1}"] = (shown(argument), "it is given without its name")
    for keyword in call.keywords:
        if keyword.arg is not None:
            take(keyword.arg, keyword.value)
            continue
        try:
            given = reader.value(keyword.value, scope)
            known.update(given if isinstance(given, dict) else {})
        except Unresolved as error:
            unresolved["**"] = (shown(keyword.value), str(error))
    variable = found.assigned.get(call)
    for name, target, value, place in found.changes:
        if name == variable and place is scope and target.lineno > call.lineno:
            take(target.attr, value)
    model = _model(reader, found, variable)
    return ScriptConfig(known, unresolved, dict(reader.chosen), model, call.lineno, others)


def _model(reader: Reader, found: _Found, variable: str | None) -> str | None:
    """The model that the configuration in *variable* is built with."""
    model = None
    for call, scope in found.builds:
        arguments = {keyword.arg: keyword.value for keyword in call.keywords}
        first = call.args[0] if call.args else arguments.get("model_filename")
        config = call.args[1] if len(call.args) > 1 else arguments.get("cfg")
        of_another = isinstance(config, ast.Name) and variable is not None and config.id != variable
        if first is None or of_another:
            continue
        try:
            value = reader.value(first, scope)
        except Unresolved:
            continue
        model = value if isinstance(value, str) else model
    return model


class _Collector(ast.NodeVisitor):
    """Fills a `_Found`, and the scopes with their assignments."""

    def __init__(self, found: _Found) -> None:
        self._found = found
        self._scope = Scope("", None)

    def visit_Import(self, node: ast.Import) -> None:
        """A module's name is not a value."""
        for alias in node.names:
            name = (alias.asname or alias.name).partition(".")[0]
            self._scope.hide_name(name, node.lineno, "is imported")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """What is imported is not a value; the configuration's class may have another name."""
        for alias in node.names:
            self._scope.hide_name(alias.asname or alias.name, node.lineno, "is imported")
            if alias.name == CLASS:
                self._found.names.add(alias.asname or alias.name)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A function's names are its own."""
        self._scope.hide_name(node.name, node.lineno, "is a function")
        outer, self._scope = self._scope, Scope(node.name, self._scope)
        given = node.args
        for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
            if argument is not None:
                self._scope.hide_name(argument.arg, node.lineno, f"is an argument of {node.name}()")
        for statement in node.body:
            self.visit(statement)
        self._scope = outer

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Assign(self, node: ast.Assign) -> None:
        """A name, or a field of the configuration, gets a value."""
        for target in node.targets:
            self._assign(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """The same with a type."""
        if node.value is not None:
            self._assign(node.target, node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """A name is changed."""
        self._scope.hide(node.target, "is changed")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        """A name of a loop has a value where the loop has one turn."""
        self._scope.loop(node.target, node.iter)
        self.generic_visit(node)

    def visit_With(self, node: ast.With) -> None:
        """A name of a context is not a value."""
        for entry in node.items:
            if entry.optional_vars is not None:
                self._scope.hide(entry.optional_vars, "is a context")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """A configuration, or its build."""
        last = dotted(node.func).rpartition(".")[2]
        if last in self._found.names:
            self._found.configs.append((node, self._scope))
        elif last == BUILD:
            self._found.builds.append((node, self._scope))
        self.generic_visit(node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        self._scope.assign(target, value)
        if isinstance(target, ast.Name) and isinstance(value, ast.Call):
            self._found.assigned[value] = target.id
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            self._found.changes.append((target.value.id, target, value, self._scope))
