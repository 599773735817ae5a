"""Max-pools behind the quantiser that follows them.

torch's usual order is Conv, BatchNorm, MaxPool, Relu, quantiser. FINN makes hardware of a pool of integers only. A
function that never falls may change places with a maximum: the largest of f(x) is f of the largest x, exactly and in
float32, too. So all such functions between the pool and the quantiser, and the quantiser, go in front of the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from labd_host.rewrites.onnx_edit import QUANTISERS, SHAPES_ONLY, OnnxEdit, attributes, replace_input
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_PRODUCTS = ("Conv", "Gemm", "MatMul")
RISING = (
    "Atan", "Cast", "Ceil", "Clip", "Dropout", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "Identity", "LeakyRelu",
    "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_FALLS = "falls"
_SLOPES = ("Elu", "HardSigmoid", "LeakyRelu")  # rise where their alpha is not negative


def move_behind_quantisers(graph: onnx.GraphProto) -> list[str]:
    """Move each max-pool of values that are not quantised behind the quantiser that follows; a line for each.

    Raises:
        ArtifactError: a max-pool cannot go there, and FINN cannot build it where it is.
    """
    edit = OnnxEdit(graph)
    notes = []
    for result in [node.output[0] for node in graph.node if node.op_type == "MaxPool"]:
        pool = edit.maker(result)
        source = None if pool is None else _source(edit, pool.input[0])
        if pool is not None and (source is None or source.op_type not in QUANTISERS):
            plain = source is None or (source.op_type in _PRODUCTS and len(source.input) < 3)
            notes += _move(edit, pool, plain=plain)
    return notes


def _source(edit: OnnxEdit, tensor: str) -> onnx.NodeProto | None:
    """Who made the values of *tensor*, whatever their order, their shape and one scale; None: they are the input."""
    while (node := edit.maker(tensor)) is not None:
        passes = (*SHAPES_ONLY, "Cast", "Dropout", "MaxPool", "Pad", "Resize", "Transpose", "Upsample")
        if node.op_type not in passes and not _scales(edit, node):
            return node
        tensor = edit.operand(node)
    return None


def _scales(edit: OnnxEdit, node: onnx.NodeProto) -> bool:
    """Is *node* a product with one positive constant, which FINN moves past a pool?"""
    constants = [edit.constants[name] for name in node.input if name in edit.constants]
    return node.op_type in ("Mul", "Div") and len(constants) == 1 and bool(constants[0].min() > 0)


def _move(edit: OnnxEdit, pool: onnx.NodeProto, *, plain: bool) -> list[str]:
    """What was done about *pool*; *plain*: it reads pixels, or sums without a bias, which FINN pools as they are."""
    functions: list[onnx.NodeProto] = []
    moved_shapes = False
    tensor = pool.output[0]
    while True:
        node = edit.only_reader(tensor)
        if node is None and len(edit.readers(tensor)) > 1:
            return []  # a branch, which is refused as one
        if node is None or node.op_type in _PRODUCTS:
            return [] if plain else _refuse(pool, "no quantiser follows")
        if node.op_type in SHAPES_ONLY and node.op_type != "Identity" or node.op_type == "Transpose":
            moved_shapes = True
        elif node.op_type != "MaxPool":
            fault = _fault(edit, node, tensor, by_channel=not moved_shapes)
            if fault and (not plain or fault.startswith(_FALLS)):
                return _refuse(
                    pool,
                    f"cannot be moved behind a quantiser: {node.name} ({node.op_type}) stands in the way, it {fault}",
                )
            if fault:
                return []
            functions.append(node)
            if node.op_type in QUANTISERS:
                break
        tensor = node.output[0]
    for node in functions:
        _put_in_front(edit, node, pool)
    return [
        f"{pool.name} (MaxPool) goes behind {functions[-1].name} ({functions[-1].op_type}): the class stays the same"
    ]


def _fault(edit: OnnxEdit, node: onnx.NodeProto, tensor: str, *, by_channel: bool) -> str:
    """Why *node* may not change places with a maximum; "" where it may."""
    others = [name for name in node.input[1:] if name] if node.input[0] == tensor else list(node.input[:1])
    constants = [edit.value_of(name) for name in others]
    if any(value is None for value in constants):
        return "computes with another tensor of the network"
    values = [value for value in constants if value is not None]
    if not by_channel and any(value.size > 1 for value in values):
        return "has a value for each feature, the pool for each channel"
    if any(value.ndim > 1 and max(value.shape[2:], default=1) > 1 for value in values):
        return "has a value for each place of the map"
    if node.op_type in QUANTISERS or node.op_type in RISING:
        slope = attributes(node).get("alpha", 0.0) if node.op_type in _SLOPES else 0.0
        falls = slope < 0 or (node.op_type == "PRelu" and values[0].min() < 0)
        return f"{_FALLS} for negative values" if falls else ""
    if node.op_type in ("Add", "Sub"):
        return "" if node.op_type == "Add" or node.input[0] == tensor else _FALLS
    if node.op_type in ("Mul", "Div", "BatchNormalization"):
        if node.op_type == "Div" and node.input[0] != tensor:
            return _FALLS
        falling = int(np.sum(values[0] < 0))
        return f"{_FALLS} in {falling} of {values[0].size} channels" if falling else ""
    return "is not known to rise"


def _refuse(pool: onnx.NodeProto, reason: str) -> NoReturn:
    raise ArtifactError(
        f"{pool.name} ({pool.op_type}) takes the maximum of values that are not quantised, and {reason}",
        fix=f"put a quantiser (QuantReLU, QuantIdentity) in front of {pool.name} and train again",
        nodes=[pool.name],
    )


def _put_in_front(edit: OnnxEdit, node: onnx.NodeProto, pool: onnx.NodeProto) -> None:
    """Let *node* compute on what *pool* reads, and *pool* read the result."""
    source = edit.operand(node)
    for reader in edit.readers(node.output[0]):
        replace_input(reader, node.output[0], source)
    for entry in edit.graph.output:
        if entry.name == node.output[0]:
            entry.name = source
    fresh = edit.new_tensor(node.output[0])
    inputs = [pool.input[0] if name == source else name for name in node.input]
    copy = type(node)()
    copy.CopyFrom(node)
    edit.remove(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(inputs)
    copy.output.append(fresh)
    edit.graph.node.insert(edit.place(pool), copy)
    pool.input[0] = fresh
