"""A saved stage as plain data, read with onnx alone: a look at a file should not wait for FINN.

What FINN's defaults would fill in is left out: a stage's file holds what a transformation set.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from labd_host.exports import load_onnx
from labd_host.proof.plain_graph import Graph, Node
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_DATATYPE = "finn_datatype"


def read_graph(path: Path) -> Graph:
    """The graph in *path*.

    Raises:
        ArtifactError: no such file, too large, not an ONNX model, or one without input or output.
    """
    model = load_onnx(path)
    if not model.graph.input:
        raise ArtifactError(f"{path} has no input", fix="export it again: labd train")
    return graph_of(model)


def graph_of(model: onnx.ModelProto) -> Graph:
    """*model* as plain data."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    inputs = [entry.name for entry in graph.input if entry.name not in constants]
    shapes = {name: value.shape for name, value in constants.items()}
    datatypes: dict[str, str] = {}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        tensor = entry.type.tensor_type
        shapes[entry.name] = tuple(axis.dim_value for axis in tensor.shape.dim)
        if tensor.elem_type:
            datatypes[entry.name] = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name.upper()
    for note in graph.quantization_annotation:
        for pair in note.quant_parameter_tensor_names:
            if pair.key == _DATATYPE:
                datatypes[note.tensor_name] = pair.value
    return Graph(
        nodes=_in_reading_order([_node(node) for node in graph.node], inputs[0]),
        constants=constants,
        datatypes=datatypes,
        shapes=shapes,
        input=inputs[0],
        output=graph.output[0].name,
    )


def inline(graph: Graph, container: Node, inner: Graph) -> Graph:
    """*graph* with the nodes of *inner* in place of *container*, whose input and output they take over."""
    ends = {inner.input: container.inputs[0], inner.output: container.outputs[0]}

    def named(tensor: str) -> str:
        return ends.get(tensor, f"{container.name}/{tensor}" if tensor else "")

    inside = tuple(
        Node(
            node.name,
            node.op,
            tuple(named(tensor) for tensor in node.inputs),
            tuple(named(tensor) for tensor in node.outputs),
            node.attributes,
        )
        for node in inner.nodes
    )
    at = graph.nodes.index(container)
    return Graph(
        nodes=(*graph.nodes[:at], *inside, *graph.nodes[at + 1 :]),
        constants={**graph.constants, **{named(name): value for name, value in inner.constants.items()}},
        datatypes={**{named(name): value for name, value in inner.datatypes.items()}, **graph.datatypes},
        shapes={**{named(name): value for name, value in inner.shapes.items()}, **graph.shapes},
        input=graph.input,
        output=graph.output,
    )


def _in_reading_order(nodes: list[Node], source: str) -> tuple[Node, ...]:
    """What does not depend on *source* (the quantisers of weights) directly before its first reader."""
    fed = {source}
    waiting: list[Node] = []
    ordered: list[Node] = []
    for node in nodes:
        if fed.isdisjoint(node.inputs):
            waiting.append(node)
            continue
        fed.update(name for name in node.outputs if name)
        wanted = set(node.inputs)
        ready = []
        for other in reversed(waiting):
            if not wanted.isdisjoint(other.outputs):
                wanted.update(other.inputs)
                ready.append(other)
        waiting = [other for other in waiting if other not in ready]
        ordered += [*reversed(ready), node]
    return (*ordered, *waiting)


def _node(node: Any) -> Node:
    from onnx import helper

    attributes = {entry.name: _plain(helper.get_attribute_value(entry)) for entry in node.attribute}
    return Node(node.name, node.op_type, tuple(node.input), tuple(node.output), attributes)


def _plain(value: Any) -> Any:
    """Text as text; tensors and subgraphs, which nobody wants to read, by their kind."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, list) and all(isinstance(each, int | float) for each in value):
        return value
    return type(value).__name__
