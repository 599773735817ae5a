"""Who makes and who reads each tensor of an ONNX graph, and small changes of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

_SHOWN = 3


class Wiring:
    """A view of *graph* as it is now; make another one after nodes were added or removed elsewhere.

    Attributes:
        constants: Name -> initializer.
        makers: Tensor -> the node that makes it.
        readers: Tensor -> the nodes that read it, each once.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {entry.name: entry for entry in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.outputs = {entry.name for entry in graph.output}

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The value of the constant *name*; None where it is computed."""
        from onnx import numpy_helper

        entry = self.constants.get(name)
        return None if entry is None else numpy_helper.to_array(entry)

    def add_constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """A new constant; its name, which is *name* or that with a number."""
        from onnx import numpy_helper

        taken = {*self.constants, *self.makers, *(entry.name for entry in self.graph.input)}
        unique, count = name, 0
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        self.graph.initializer.append(numpy_helper.from_array(value, unique))
        self.constants[unique] = self.graph.initializer[-1]
        return unique

    def bypass(self, node: onnx.NodeProto) -> bool:
        """Let the readers of *node*'s first output read its first input; False where both are the graph's own ends."""
        before, after = node.input[0], node.output[0]
        if after in self.outputs:
            maker = self.makers.get(before)
            if maker is None or before in self.outputs:
                return False
            for reader in self.readers.get(before, []):
                _rename(reader.input, before, after)
                if reader is not node:
                    self.readers.setdefault(after, []).append(reader)
            _rename(maker.output, before, after)
            self.makers[after] = maker
        else:
            for reader in self.readers.get(after, []):
                _rename(reader.input, after, before)
                self.readers.setdefault(before, []).append(reader)
            self.makers.pop(after, None)
        if node in self.readers.get(before, []):
            self.readers[before].remove(node)
        self.graph.node.remove(node)
        return True

    def follows(self, name: str) -> onnx.NodeProto | None:
        """The only reader of *name*; None where there are several, none, or it is an output of the graph."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def _rename(names: Any, old: str, new: str) -> None:
    for place, name in enumerate(names):
        if name == old:
            names[place] = new


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of *node* by name, texts as text."""
    from onnx import helper

    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {
        key: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for key, value in values.items()
    }


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set an attribute of *node*, whether it has it or not."""
    from onnx import helper

    remove_attribute(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def remove_attribute(node: onnx.NodeProto, name: str) -> None:
    """Remove an attribute of *node* where it has it."""
    for entry in [entry for entry in node.attribute if entry.name == name]:
        node.attribute.remove(entry)


def named(nodes: Iterable[str]) -> str:
    """Names of nodes for a sentence: the first three, and how many more."""
    names = list(nodes)
    rest = len(names) - _SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:_SHOWN]) + more


def shape_of(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape of *value*; None where an axis or all of it is open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    axes = tuple(axis.dim_value if axis.HasField("dim_value") else -1 for axis in tensor.shape.dim)
    return None if min(axes, default=1) < 0 else axes


def values_in(shape: tuple[int, ...]) -> int:
    """How many values a tensor of *shape* has."""
    return int(np.prod(shape, dtype=np.float64)) if shape else 1
