"""Colour images that a network lays flat: its order of the values becomes the one in which a board sends them.

torch lays all values of a channel before those of the next (NCHW); a driver sends the channels of each pixel together
(NHWC). So the image is transposed in front, and what is done to single values, and the rows of the first product's
weights, come in the new order. FINN does so itself where a quantiser stands in front and treats all values alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labd_host.rewrites.onnx_edit import QUANTISERS, OnnxEdit, Values, attributes, replace_input

if TYPE_CHECKING:
    import onnx

_EACH_VALUE = (
    "Add", "BatchNormalization", "BipolarQuant", "Div", "Identity", "Mul", "MultiThreshold", "Quant", "Relu", "Sub",
)  # fmt: skip
_FLAT = ("Flatten", "Reshape")
_PRODUCTS = ("MatMul", "Gemm")


def flatten_as_sent(graph: onnx.GraphProto) -> list[str]:
    """Have the values of a colour image that is laid flat in the order in which a board sends them; a line for it."""
    edit = OnnxEdit(graph)
    found = _up_to_flat(edit)
    if found is None:
        return []
    before, flat, (channels, height, width) = found
    behind, product = _up_to_product(edit, flat.output[0])
    if product is None or _finn_knows(edit, [*before, *behind]):
        return []
    order = np.arange(channels * height * width).reshape(channels, height, width).transpose(1, 2, 0).ravel()
    entered = _lay_flat(edit, (before[0] if before else flat), (channels, height, width))
    left = entered
    for node in before:
        replace_input(node, edit.input, entered)
        _spread_constants(edit, node, (channels, height, width))
        edit.set_shape(node.output[0], (1, len(order)))
        left = node.output[0]
    for reader in edit.readers(flat.output[0]):
        replace_input(reader, flat.output[0], left)
    edit.remove(flat)
    for node in behind:
        for name in list(node.input):
            if name and edit.is_constant(name) and _size(edit, name) == len(order):
                replace_input(node, name, _in_order(edit, name, order, axis=-1))
    axis = int(attributes(product).get("transB", 0))  # of the weights' rows, one a value
    weights = next(name for name in product.input if name and edit.is_constant(name))
    replace_input(product, weights, _in_order(edit, weights, order, axis=axis))
    _drop_unread(edit, weights)
    return [
        f"{flat.name} ({flat.op_type}) lays an image of {channels} channels flat: its values, and the weights of "
        f"{product.name}, come in the order in which a board sends them"
    ]


def _up_to_flat(edit: OnnxEdit) -> tuple[list[onnx.NodeProto], onnx.NodeProto, tuple[int, int, int]] | None:
    """What is done to each value in front of the Flatten of a colour image, that node, and the image's axes."""
    shape = edit.shape(edit.input)
    if shape is None or len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1:
        return None
    nodes: list[onnx.NodeProto] = []
    tensor = edit.input
    while (node := edit.only_reader(tensor)) is not None:
        if node.op_type in _FLAT:
            return (
                (nodes, node, shape[1:]) if edit.shape(node.output[0]) == (1, int(np.prod(shape))) else None
            )
        if node.op_type not in _EACH_VALUE:
            return None
        nodes.append(node)
        tensor = node.output[0]
    return None


def _up_to_product(edit: OnnxEdit, tensor: str) -> tuple[list[onnx.NodeProto], onnx.NodeProto | None]:
    """What is done to each value of *tensor* in front of a product with constant weights, and that product."""
    nodes: list[onnx.NodeProto] = []
    while (node := edit.only_reader(tensor)) is not None:
        if node.op_type in _PRODUCTS:
            return nodes, node if tensor == node.input[0] and edit.is_constant(node.input[1]) else None
        if node.op_type not in _EACH_VALUE:
            return nodes, None
        nodes.append(node)
        tensor = node.output[0]
    return nodes, None


def _finn_knows(edit: OnnxEdit, nodes: list[onnx.NodeProto]) -> bool:
    """Whether FINN itself turns the weights: behind a quantiser that treats all values alike (RemoveCNVtoFCFlatten)."""
    constants = [name for node in nodes for name in node.input if name and edit.is_constant(name)]
    alike = all(_size(edit, name) == 1 for name in constants)
    return alike and any(node.op_type in QUANTISERS for node in nodes)


def _lay_flat(edit: OnnxEdit, before: onnx.NodeProto, image: tuple[int, int, int]) -> str:
    """Nodes in front of *before* that transpose the input and lay it flat; the tensor they make."""
    channels, height, width = image
    turned = edit.new_tensor("as_sent")
    edit.insert(before, "Transpose", [edit.input], [turned], perm=[0, 2, 3, 1])
    edit.set_shape(turned, (1, height, width, channels))
    entered = edit.new_tensor("flat")
    sizes = edit.new_constant("flat_shape", np.array([1, channels * height * width], np.int64))
    edit.insert(before, "Reshape", [turned, sizes], [entered])
    edit.set_shape(entered, (1, channels * height * width))
    return entered


def _spread_constants(edit: OnnxEdit, node: onnx.NodeProto, image: tuple[int, int, int]) -> None:
    """Let the constants of *node*, one a channel or one a value, be one for each value of the flat image."""
    channels, height, width = image
    for index, name in enumerate(list(node.input)):
        value = edit.value_of(name) if name and edit.is_constant(name) else None
        if value is None or value.size == 1:
            continue
        if node.op_type == "BatchNormalization":
            spread = np.tile(value, height * width)
        elif node.op_type == "MultiThreshold":
            spread = np.tile(value, (height * width, 1))
        else:
            whole = np.broadcast_to(value, (1, channels, height, width))
            spread = whole.transpose(0, 2, 3, 1).reshape(1, -1)
        node.input[index] = edit.new_constant("spread", spread.astype(value.dtype))


def _in_order(edit: OnnxEdit, tensor: str, order: Values, *, axis: int) -> str:
    """The constant *tensor* with the entries of *axis* in *order*, its quantiser and transposes kept; its name."""
    if tensor in edit.constants:
        return edit.new_constant("in_order", np.take(edit.constants[tensor], order, axis=axis))
    node = edit.maker(tensor)
    if node is None:
        raise AssertionError(f"{tensor} is constant and has neither a value nor a maker")
    if node.op_type == "Transpose":
        perm = list(attributes(node).get("perm", [1, 0]))
        axis = perm[axis]
    inside = _in_order(edit, node.input[0], order, axis=axis)
    parameters = []
    for name in node.input[1:]:
        value = edit.value_of(name) if name else None
        along = value is not None and value.ndim > abs(axis) and value.shape[axis] == len(order)
        parameters.append(_in_order(edit, name, order, axis=axis) if along else name)
    made = edit.new_tensor("in_order")
    copied = edit.insert(node, node.op_type, [inside, *parameters], [made], **attributes(node))
    copied.domain = node.domain
    return made


def _drop_unread(edit: OnnxEdit, tensor: str) -> None:
    """Remove the node that makes the constant *tensor*, and those in front of it, where nobody reads them any more."""
    node = edit.maker(tensor)
    if node is None or edit.readers(tensor):
        return
    edit.remove(node)
    for name in node.input:
        _drop_unread(edit, name)


def _size(edit: OnnxEdit, tensor: str) -> int:
    value = edit.value_of(tensor)
    return 0 if value is None else value.size
