"""The texts in the product's source that tell a user what to type next: what errors are given as `fix`."""

import ast
from collections import defaultdict

from support.paths import ROOT

PARTS = ("shared/labd_shared", "board/labd_board", "host/labd_host")


def texts(expression):
    """The texts that *expression* may be, with ``{}`` where a value stands; none where it names one."""
    if isinstance(expression, ast.Constant):
        return [expression.value] if isinstance(expression.value, str) else []
    if isinstance(expression, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else "{}" for part in expression.values)]
    if isinstance(expression, ast.BinOp):
        sides = [texts(side) or ["{}"] for side in (expression.left, expression.right)]
        return [left + right for left in sides[0] for right in sides[1]]
    if isinstance(expression, ast.IfExp):
        return texts(expression.body) + texts(expression.orelse)
    if isinstance(expression, ast.BoolOp):
        return [text for value in expression.values for text in texts(value)]
    if isinstance(expression, ast.Call) and getattr(expression.func, "attr", "") == "format":
        return texts(expression.func.value)
    return []


class Product:
    """Every module of ours, parsed; `fixes` are the texts given to errors as `fix`."""

    def __init__(self):
        self.trees = {
            path: ast.parse(path.read_text())
            for part in PARTS
            for path in sorted((ROOT / part).rglob("*.py"))
        }
        self._assigned = defaultdict(list)  # name -> texts
        self._returned = defaultdict(list)  # function -> texts
        self._takes = defaultdict(set)  # function -> (place, name) of a parameter that becomes a fix
        self._calls = []
        for tree in self.trees.values():
            for node in ast.walk(tree):
                self._read(node)

    def _read(self, node):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self._assigned[target.id] += texts(node.value)
        elif isinstance(node, ast.FunctionDef):
            names = [one.arg for one in node.args.args if one.arg != "self"]
            uses = {one.value.id for one in _fixes_given(node) if isinstance(one.value, ast.Name)}
            for name in (uses | {"fix"}) & set(names):
                self._takes[node.name].add((names.index(name), name))
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    self._returned[node.name] += texts(inner.value)
        elif isinstance(node, ast.Call):
            self._calls.append(node)

    def fixes(self):
        """All the texts; one may come more than once."""
        for call in self._calls:
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            given = [one.value for one in call.keywords if one.arg == "fix"]
            for place, parameter in self._takes[name]:
                given += call.args[place : place + 1]
                given += [one.value for one in call.keywords if one.arg == parameter != "fix"]
            for expression in given:
                yield from texts(expression)
                for node in ast.walk(expression):
                    if isinstance(node, ast.Name):
                        yield from self._assigned[node.id] if node is expression or node.id.isupper() else ()
                    elif isinstance(node, ast.Call):
                        yield from self._returned[getattr(node.func, "id", "")]

    def strings(self):
        """Every string of the source, docstrings as well."""
        for tree in self.trees.values():
            for node in ast.walk(tree):
                if isinstance(node, (ast.Constant, ast.JoinedStr)):
                    yield from texts(node)


def _fixes_given(function):
    return [
        keyword
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "fix"
    ]
