"""Windows of convolutions and pools at the edges of what FINN takes.

Where one window covers the map, its stride means nothing, and FINN refuses one that is larger than the map. A map of
one row or column sees one row or column of a kernel; FINN wants that one alone, without zeros around the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labd_host.rewrites.onnx_edit import OnnxEdit, attributes, set_attribute
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx


def fit_windows(graph: onnx.GraphProto) -> list[str]:
    """Let windows fit their maps; a line for each that changed.

    Raises:
        ArtifactError: a map of one row or column is padded to more of them.
    """
    edit, notes = OnnxEdit(graph), []
    for node in graph.node:
        sizes, made = edit.shape(node.input[0]) if node.input else None, edit.shape(node.output[0])
        if node.op_type not in ("Conv", "MaxPool") or sizes is None or made is None or len(sizes) != 4:
            continue
        for axis in (0, 1):
            if sizes[2 + axis] == 1:
                notes += _fit_one(edit, node, axis, made[2 + axis])
        notes += _shorten_strides(node, sizes, made)
    return notes


def _pads(node: onnx.NodeProto) -> list[int]:
    return list(attributes(node).get("pads", [0] * 4))


def _shorten_strides(node: onnx.NodeProto, sizes: tuple[int, ...], made: tuple[int, ...]) -> list[str]:
    found, pads = attributes(node), _pads(node)
    kernel, strides = found.get("kernel_shape"), list(found.get("strides", [1, 1]))
    if kernel is None:
        return []
    fitting = [
        min(stride, size + pads[axis] + pads[axis + 2] - kernel[axis] + 1) if one == 1 else stride
        for axis, (stride, size, one) in enumerate(zip(strides, sizes[2:], made[2:], strict=True))
    ]
    if fitting == strides or min(fitting) < 1:
        return []
    set_attribute(node, "strides", fitting)
    return [
        f"the stride of {node.name} ({node.op_type}), which has one place to go, is {fitting} for {strides}"
    ]


def _fit_one(edit: OnnxEdit, node: onnx.NodeProto, axis: int, made: int) -> list[str]:
    """Let the windows of *node* be one row high (or one column wide, *axis* 1), as its map is."""
    found, pads = attributes(node), _pads(node)
    kernel = list(found.get("kernel_shape", [1, 1]))
    if kernel[axis] == 1 and not pads[axis] and not pads[axis + 2]:
        return []
    what = ("row", "column")[axis]
    plain = found.get("dilations", [1, 1])[axis] == 1 and pads[axis] < kernel[axis]
    if made != 1 or not plain or (node.op_type == "Conv" and len(edit.readers(node.input[1])) != 1):
        raise ArtifactError(
            f"{node.name} ({node.op_type}) pads a map of one {what} to {1 + pads[axis] + pads[axis + 2]} {what}s; FINN "
            "pads such maps along their length only",
            fix=f"take a kernel of one {what} without padding there, and train and export it again",
            nodes=[node.name],
        )
    if node.op_type == "Conv":
        _cut_weights(edit, node, axis, pads[axis])
    pads[axis] = pads[axis + 2] = 0
    was, kernel[axis] = list(kernel), 1
    set_attribute(node, "pads", pads)
    set_attribute(node, "kernel_shape", kernel)
    return [f"the kernel of {node.name} ({node.op_type}) is {kernel} for {was}: its map has one {what}"]


def _cut_weights(edit: OnnxEdit, node: onnx.NodeProto, axis: int, place: int) -> None:
    """Leave the row (or column) at *place* of the kernel of *node*."""
    reader, index = node, 1
    while (maker := edit.maker(reader.input[index])) is not None:
        edit.forget_shape(reader.input[index])
        reader, index = maker, 0
    weights = np.take(edit.constants[reader.input[index]], [place], axis=2 + axis)
    reader.input[index] = edit.new_constant("kernel", weights)
