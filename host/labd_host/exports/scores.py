"""What stands behind the scores of an export and does not change the class: taken away.

labd itself puts the choice of the best class behind the scores. Every function changes the model and yields a line
for each change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from labd_host.exports.onnx_file import AGAIN
from labd_host.exports.shapes import infer_shapes, known_shapes
from labd_host.exports.wiring import Wiring, attributes_of, named
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_PASSING = (
    "Cast",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
)  # may stand behind a choice of the class
_CHOICES = ("ArgMax", "TopK")
_SCORE_AXES = 2  # (1, classes)
_SQUASHING = {  # operation behind the scores -> what it leaves as it is
    "Softmax": "the order of the classes",
    "LogSoftmax": "the order of the classes",
    "Sigmoid": "the order of the values; above 0.5 is now above 0",
}


def take_scores(model: onnx.ModelProto) -> Iterator[str]:
    """Make the scores the output: what only chooses or squashes them goes.

    Raises:
        ArtifactError: several classes are chosen, or there are several outputs.
    """
    while (line := _shorter(model)) is not None:
        yield line
        infer_shapes(model)
    if len(model.graph.output) > 1:
        makers = {name: node.name for node in model.graph.node for name in node.output}
        who = "; ".join(f"{each.name} of {makers.get(each.name, 'the input')}" for each in model.graph.output)
        raise ArtifactError(
            f"the network has {len(model.graph.output)} outputs ({who}): a network with branches, labd builds chains",
            fix="export it with one output, the scores of the classes",
        )
    yield from _prune(model)


def _shorter(model: onnx.ModelProto) -> str | None:
    """Take one operation away from behind the scores; a line about it, None where there is nothing to take."""
    wiring = Wiring(model.graph)
    ends = [_end(wiring, entry.name) for entry in model.graph.output]
    node, behind = ends[0]
    if node is None or node.domain or any(other is not node for other, _ in ends):
        return None
    said = f"{node.name} ({node.op_type}) behind the scores: taken away"
    if node.op_type in _CHOICES and len(known_shapes(model).get(node.input[0], ())) == _SCORE_AXES:
        _check_choice(node, wiring)
        _end_at(model, node.input[0])
        return f"{said}, labd itself chooses the best class"
    if node.op_type in _SQUASHING and not behind and _over_classes(node, model):
        _end_at(model, node.input[0])
        return f"{said}, it keeps {_SQUASHING[node.op_type]}"
    return None


def _end(wiring: Wiring, tensor: str) -> tuple[onnx.NodeProto | None, int]:
    """The node that makes *tensor*, shapes and types apart, and how many nodes of those stand behind it."""
    node, behind = wiring.makers.get(tensor), 0
    while node is not None and node.op_type in _PASSING and not node.domain:
        node, behind = wiring.makers.get(node.input[0]), behind + 1
    return node, behind


def _check_choice(node: onnx.NodeProto, wiring: Wiring) -> None:
    """Refuse a choice of other than the best class.

    Raises:
        ArtifactError: it gives several, or the worst, or chooses along another axis.
    """
    has = attributes_of(node)
    axis = has.get("axis", -1 if node.op_type == "TopK" else 0)
    if axis not in (1, -1):
        raise ArtifactError(
            f"{node.name} ({node.op_type}) chooses along the axis {axis}, the classes are along the axis 1",
            fix=f"export the scores without {node.op_type}, or with axis=1",
        )
    if node.op_type != "TopK":
        return
    count = wiring.constant(node.input[1])
    few = "an unknown number of" if count is None else f"{int(count.reshape(-1)[0])}"
    if few != "1" or not has.get("largest", 1):
        which = "best" if has.get("largest", 1) else "worst"
        raise ArtifactError(
            f"{node.name} (TopK) gives the {which} {few} classes; labd builds the choice of the best one",
            fix="export the scores without TopK: labd validate counts the best five of them by itself",
        )


def _over_classes(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Does *node* work along the classes of (1, classes), or value by value?"""
    shape = known_shapes(model).get(node.input[0], ())
    return (
        node.op_type == "Sigmoid"
        or (len(shape) == 2 and attributes_of(node).get("axis", -1) in (1, -1))
        or (len(shape) == 4 and attributes_of(node).get("axis", -1) in (1, -3))
    )


def _end_at(model: onnx.ModelProto, tensor: str) -> None:
    """Make *tensor* the network's only output."""
    from onnx import TensorProto, helper

    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    for _ in _prune(model):
        pass  # what chose the class: the line about it says so


def _prune(model: onnx.ModelProto) -> Iterator[str]:
    """Remove the nodes and constants that nothing depends on."""
    wanted = {entry.name for entry in model.graph.output}
    dead = []
    for node in reversed(list(model.graph.node)):
        if wanted.isdisjoint(node.output):
            dead.append(node)
        else:
            wanted.update(name for name in node.input if name)
    if model.graph.input[0].name not in wanted:
        raise ArtifactError(
            f"the output {model.graph.output[0].name} of the network does not depend on its input", fix=AGAIN
        )
    for node in dead:
        model.graph.node.remove(node)
    for constant in [entry for entry in model.graph.initializer if entry.name not in wanted]:
        model.graph.initializer.remove(constant)
    if dead:
        yield f"nodes whose result nobody reads: left out ({named(node.name for node in reversed(dead))})"
