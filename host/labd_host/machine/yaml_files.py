"""Read YAML from outside within the bounds of `labd_shared.records`: plain values, no aliases, no tags of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from labd_shared.files import read_bounded
from labd_shared.records import MAX_DEPTH, SHOWN, Origin, Value, bounded


def read_yaml(path: Path, max_bytes: int, origin: Origin) -> Value:
    """The one document in the file *path*.

    Raises:
        LabdError: of the origin's class: it cannot be read, is larger than *max_bytes*, or is not YAML within
            the bounds.
    """
    return parse_yaml(read_bounded(path, max_bytes, origin.fix, origin.error), origin)


def parse_yaml(content: bytes, origin: Origin) -> Value:
    """The one document in *content*; errors as of `read_yaml`."""
    try:
        loader = _Loader(content.decode("utf-8-sig"))
        try:
            raw = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise origin.fault(f"not YAML: {line}{error.problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a date or a number that is not one
        raise origin.fault(f"not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise origin.fault("not YAML: it is nested too deep") from error
    return bounded(raw, origin)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """PyYAML's loader of plain values, which refuses aliases, deep nesting, and keys that are doubled or not text."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            self._refuse(f"an alias, *{event.anchor[:SHOWN]}: write its value out", event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(
                f"lists and objects are nested more than {MAX_DEPTH} deep", self.peek_event().start_mark
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                self._refuse(f"the key {key!r:.60} is not a text", key_node.start_mark)
            if key in seen:
                self._refuse(f"the key {key[:SHOWN]!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def _refuse(self, what: str, mark: Any) -> None:
        raise yaml.constructor.ConstructorError(None, None, what, mark)
