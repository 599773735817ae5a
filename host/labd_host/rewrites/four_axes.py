"""Convolutions and pools over one axis as those over two, of which one has the size 1.

FINN knows feature maps of four axes: (images, channels, height, width). A network of three, (images, channels,
length), computes the same with a height of 1. Its input is then an image of height 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labd_host.rewrites.onnx_edit import QUANTISERS, OnnxEdit, attributes, replace_input, set_attribute

if TYPE_CHECKING:
    import onnx

_WINDOWS = ("AveragePool", "Conv", "LpPool", "MaxPool")
_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")
_OTHER_AXES = ("Concat", "Gather", "Gemm", "GRU", "LSTM", "MatMul", "Slice", "Split", "Transpose")
_BESIDE = {"kernel_shape": 1, "strides": 1, "dilations": 1}  # attribute -> its value for the axis of size 1
_LAYOUTS = {"NCW": "NCHW", "NWC": "NHWC"}
_HEIGHT = 2  # the place of the axis that is new


def give_four_axes(graph: onnx.GraphProto) -> list[str]:
    """Let the maps and the input of *graph* have four axes where convolutions read them; a line for each change."""
    return [*_widen_maps(graph), *_widen_input(graph)]


def _widen_maps(graph: onnx.GraphProto) -> list[str]:
    """Let what has three axes have four, the third of size 1.

    A graph without convolutions and pools over one axis, or with a node that means its axes in another way, is left
    as it is.
    """
    edit = OnnxEdit(graph)
    wide = _three_axes(edit)
    windows = [node for node in graph.node if node.op_type in _WINDOWS and node.input[0] in wide]
    if not windows:
        return []
    widened: dict[str, str] = {}
    for node in list(graph.node):
        reads = any(name in wide for name in node.input)
        if reads or (node.op_type in _RESHAPES and node.output[0] in wide):
            _widen(edit, node, wide, widened)
    for each in (*graph.input, *graph.value_info, *graph.output):
        if each.name in wide:
            _insert_axis(each)
    return [
        f"its {len(windows)} convolutions and pools over one axis work on maps of height 1: (channels, length) "
        "became (channels, 1, length)"
    ]


def _widen_input(graph: onnx.GraphProto) -> list[str]:
    """Let an input of fewer axes have the four to which it is brought before anything but single values matters."""
    edit = OnnxEdit(graph)
    chain: list[onnx.NodeProto] = []
    tensor = edit.input
    while (node := edit.only_reader(tensor)) is not None and _each_value(edit, node):
        chain.append(node)
        tensor = node.output[0]
    entry = next(each for each in graph.input if each.name == edit.input)
    axes = entry.type.tensor_type.shape.dim
    shape = _target(edit, node) if node is not None and node.op_type in _RESHAPES else None
    if node is None or shape is None or len(shape) != 4 or len(axes) == 4:
        return []
    for reader in edit.readers(node.output[0]):
        replace_input(reader, node.output[0], tensor)
    edit.remove(node)
    was = ", ".join(str(axis.dim_value) for axis in axes)
    del axes[:]
    for size in shape:
        axes.add().dim_value = size
    for each in chain:
        edit.set_shape(each.output[0], shape)
    return [
        f"its input is an image of {shape}: {node.name} ({node.op_type}) makes that of the ({was}) of the export"
    ]


def _target(edit: OnnxEdit, node: onnx.NodeProto) -> tuple[int, ...] | None:
    """The shape that a node of `_RESHAPES` gives; None where that is not known."""
    value = edit.value_of(node.input[1]) if node.op_type == "Reshape" else None
    if value is not None and value.min() > 0:
        return tuple(int(axis) for axis in value)
    shape = edit.shape(node.output[0])
    before = edit.shape(node.input[0])
    if shape is not None or before is None or node.op_type != "Unsqueeze":
        return shape
    places = _axes_of(edit, node)
    widened = list(before)
    for place in sorted(each % (len(before) + len(places)) for each in places):
        widened.insert(place, 1)
    return tuple(widened)


def _each_value(edit: OnnxEdit, node: onnx.NodeProto) -> bool:
    """Does *node* do the same to each value?"""
    if node.op_type not in (*QUANTISERS, "Add", "Cast", "Clip", "Div", "Mul", "Relu", "Sub"):
        return False
    values = [edit.value_of(name) for name in node.input if edit.is_constant(name) and name]
    if node.op_type == "MultiThreshold":
        return values[0] is not None and values[0].shape[0] == 1
    return all(value is not None and value.size == 1 for value in values)


def _three_axes(edit: OnnxEdit) -> set[str]:
    """The tensors of three axes that depend on the input; none where a node is in the way."""
    entry = next(each for each in edit.graph.input if each.name == edit.input)
    wide = {edit.input} if len(entry.type.tensor_type.shape.dim) == 3 else set()
    for node in edit.graph.node:
        reads = bool(wide.intersection(node.input))
        if node.op_type in _RESHAPES:
            if not edit.is_constant(node.output[0]) and len(_target(edit, node) or ()) == 3:
                wide.update(node.output)
        elif reads and node.op_type in _OTHER_AXES:
            return set()
        elif reads and node.op_type != "Flatten" and not _drops_axes(node):
            wide.update(node.output)
    return wide


def _axes_of(edit: OnnxEdit, node: onnx.NodeProto) -> list[int]:
    """The axes that *node* names in an attribute or, since opset 13, in an input; none where it does not."""
    named = attributes(node).get("axes")
    if named is None and len(node.input) > 1:
        named = edit.value_of(node.input[1])
    return [] if named is None else [int(axis) for axis in named]


def _drops_axes(node: onnx.NodeProto) -> bool:
    return node.op_type in ("ReduceMean", "ReduceSum", "ReduceMax") and not attributes(node).get(
        "keepdims", 1
    )


def _widen(edit: OnnxEdit, node: onnx.NodeProto, wide: set[str], widened: dict[str, str]) -> None:
    """Give *node*, which reads or makes a tensor of three axes, the fourth."""
    if node.op_type in _WINDOWS:
        _widen_window(node)
        if node.op_type == "Conv":
            _widen_constant(edit, node, 1, widened, axes=3)
    elif node.op_type in _RESHAPES:
        _widen_reshape(edit, node, wide)
    elif node.op_type.startswith("Reduce"):
        if len(node.input) > 1:
            node.input[1] = edit.new_constant("axes", np.array([2, 3], np.int64))
        else:
            set_attribute(node, "axes", [2, 3])
    elif node.op_type == "Pad":
        pads = edit.value_of(node.input[1])
        if pads is not None and len(pads) == 6:
            node.input[1] = edit.new_constant("pads", np.insert(pads, (2, 5), 0))
    elif node.op_type == "MultiThreshold":
        layout = attributes(node).get("data_layout", b"NCW").decode()
        set_attribute(node, "data_layout", _LAYOUTS.get(layout, layout))
    else:
        for index in range(len(node.input)):
            _widen_constant(edit, node, index, widened, axes=2)


def _widen_reshape(edit: OnnxEdit, node: onnx.NodeProto, wide: set[str]) -> None:
    """Let *node* give the shape it gave, with the fourth axis where that was one of three."""
    found = _target(edit, node)
    if found is None:
        _widen_squeeze(edit, node)
        return  # a Reshape to (1, -1) means the same with an axis more
    shape = [*found[:_HEIGHT], 1, *found[_HEIGHT:]] if node.output[0] in wide else list(found)
    target = edit.new_constant("shape", np.array(shape, np.int64))
    if node.op_type == "Reshape":
        node.input[1] = target
    else:
        edit.insert(node, "Reshape", [node.input[0], target], [node.output[0]])
        edit.remove(node)


def _widen_squeeze(edit: OnnxEdit, node: onnx.NodeProto) -> None:
    """Let a Squeeze to a shape that is not known also take away the axis that is new."""
    axes = _axes_of(edit, node)
    if node.op_type != "Squeeze" or not axes:
        return
    places = sorted({_HEIGHT, *(3 if axis % 3 == _HEIGHT else axis % 3 for axis in axes)})
    if len(node.input) > 1:
        node.input[1] = edit.new_constant("axes", np.array(places, np.int64))
    else:
        set_attribute(node, "axes", places)


def _widen_window(node: onnx.NodeProto) -> None:
    found = attributes(node)
    for name, beside in _BESIDE.items():
        if name in found:
            set_attribute(node, name, [beside, *found[name]])
    if "pads" in found:
        before, after = found["pads"]
        set_attribute(node, "pads", [0, before, 0, after])


def _widen_constant(
    edit: OnnxEdit, node: onnx.NodeProto, index: int, widened: dict[str, str], *, axes: int
) -> None:
    """Give the constant that *node* reads at *index* an axis more where it has *axes* or more.

    A quantised one gets it in front of its quantiser, whose scales for each channel get it as well.
    """
    name = node.input[index]
    if not name or not edit.is_constant(name) or name in widened.values():
        return
    maker = edit.maker(name)
    if maker is not None and maker.op_type in QUANTISERS:
        for place in range(len(maker.input)):
            _widen_constant(edit, maker, place, widened, axes=axes)
        edit.forget_shape(name)
    elif name in edit.constants and edit.constants[name].ndim >= axes:
        if name not in widened:
            widened[name] = edit.new_constant(name, np.expand_dims(edit.constants[name], -2))
        node.input[index] = widened[name]


def _insert_axis(entry: onnx.ValueInfoProto) -> None:
    shape = entry.type.tensor_type.shape
    if len(shape.dim) != 3:
        return
    last = type(shape.dim[2])()
    last.CopyFrom(shape.dim[2])
    shape.dim[2].Clear()
    shape.dim[2].dim_value = 1
    shape.dim.append(last)
