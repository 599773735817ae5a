"""Quantisers in front of the Flatten that stands between them and their convolution.

FINN takes thresholds into a product, or makes a layer of them, where they follow it directly. What is done to each
value alone may be done before or after values get another shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labd_host.rewrites.onnx_edit import QUANTISERS, SHAPES_ONLY, OnnxEdit, replace_input
from labd_host.rewrites.rising import FUNCTIONS

if TYPE_CHECKING:
    import onnx

_EACH_VALUE = (*QUANTISERS, *FUNCTIONS, "Add", "Div", "Mul", "Relu", "Sub")
_ON_THE_WAY = (*_EACH_VALUE, "BatchNormalization", "MaxPool", "Transpose", *SHAPES_ONLY)


def quantise_before_flattening(graph: onnx.GraphProto) -> list[str]:
    """Move each change of shape between a convolution and its quantiser behind the quantiser; a line for each."""
    edit, notes = OnnxEdit(graph), []
    for result in [
        node.output[0] for node in graph.node if node.op_type in ("Flatten", "Reshape", "Squeeze")
    ]:
        shape = edit.maker(result)
        sizes = None if shape is None else edit.shape(shape.input[0])
        if shape is None or sizes is None or len(sizes) != 4 or not _of_a_convolution(edit, shape.input[0]):
            continue
        chain = _up_to_quantiser(edit, result, one_pixel=sizes[2:] == (1, 1))
        if not chain:
            continue
        quantised = chain[-1].output[0]
        for reader in edit.readers(quantised):
            replace_input(reader, quantised, result)
        replace_input(chain[0], result, shape.input[0])
        moved = type(shape)()
        moved.CopyFrom(shape)
        moved.input[0] = quantised
        edit.remove(shape)
        edit.graph.node.insert(edit.place(chain[-1]) + 1, moved)
        for node in chain:
            edit.set_shape(node.output[0], sizes)
        notes.append(f"{moved.name} ({moved.op_type}) goes behind {chain[-1].name} ({chain[-1].op_type})")
    return notes


def _of_a_convolution(edit: OnnxEdit, tensor: str) -> bool:
    """Are the values of *tensor* those of a convolution, not quantised since?"""
    while (node := edit.maker(tensor)) is not None and node.op_type in _ON_THE_WAY:
        if node.op_type in QUANTISERS:
            return False
        tensor = edit.operand(node)
    return node is not None and node.op_type == "Conv"


def _up_to_quantiser(edit: OnnxEdit, tensor: str, *, one_pixel: bool) -> list[onnx.NodeProto]:
    """What is done to each value of *tensor* alone, its quantiser last; none where there is something else."""
    chain: list[onnx.NodeProto] = []
    while (node := edit.only_reader(tensor)) is not None:
        constants = [edit.value_of(name) for name in node.input if name and edit.is_constant(name)]
        alone = node.op_type in _EACH_VALUE and all(
            value is not None and value.size == 1 for value in constants
        )
        if not alone and not (node.op_type == "BatchNormalization" and one_pixel):
            return []
        chain.append(node)
        tensor = node.output[0]
        if node.op_type in QUANTISERS:
            leaves = any(entry.name == tensor for entry in edit.graph.output)
            return [] if leaves else chain
    return []
