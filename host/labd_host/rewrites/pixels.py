"""A first layer that takes pixels times a scale, without a quantiser in front.

Pixels are whole numbers already. So ``scale * pixel + offset`` needs no quantiser: the product multiplies the pixels,
the scale goes behind it, and so does the offset, as a constant for each output channel. Both end in thresholds.

Zero padding is the exception: padding a convolution surrounds the map with 0, which is the pixel ``-offset / scale``,
not the pixel 0. Where that is a whole or a half pixel, the difference enters as a signed integer; elsewhere there are
no integers for it, and the network is refused, as is one whose channels have scales of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labd_host.rewrites.onnx_edit import (
    SHAPES_ONLY,
    OnnxEdit,
    Values,
    attributes,
    replace_input,
)
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

PIXEL_MAX = 255
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_SAME = 1e-6  # relative: scales that differ by less are one scale, written in float32
_WHOLE = 1e-3  # of a pixel: how far the pixel that 0 stands for may lie from a whole one
_RAW_DIVISOR = 127.0  # nobody divides by as much what lies between 0 and 1
_RAW_OFFSET = 2.0  # nor takes away a mean of as much
_RAW_STEP, _RAW_BITS = 0.5, 7  # nor rounds it to so few steps with so many bits
_FIX = "put a quantiser of 8 bits in front of that layer (QuantIdentity, behind the normalisation) and export again"


def takes_raw_pixels(graph: onnx.GraphProto) -> bool:
    """Does the network take pixels from 0 to 255 as they are, or divided by 255, as labd has them otherwise?

    An input that is declared an integer says so; else its first constant tells: a division by 255 or a mean of 123
    make sense for pixels from 0 to 255 only.
    """
    edit = OnnxEdit(graph)
    if edit.datatype:
        return edit.datatype != "FLOAT32"
    tensor = edit.input
    while (node := edit.only_reader(tensor)) is not None and node.op_type in (
        *SHAPES_ONLY,
        "Cast",
        "Transpose",
    ):
        tensor = node.output[0]
    if node is None:
        return False
    others = [edit.constants.get(name) for name in node.input if name != tensor]
    if not others or others[0] is None:
        return False
    found = np.abs(others[0].astype(np.float64))
    if node.op_type in ("Add", "Sub"):
        return bool(found.max() > _RAW_OFFSET)
    if node.op_type == "Div":
        return node.input[0] == tensor and bool(found.min() >= _RAW_DIVISOR)
    if node.op_type == "Mul":
        return bool(0 < found.max() <= 1 / _RAW_DIVISOR)
    if node.op_type == "BatchNormalization":
        mean = edit.constants.get(node.input[3])
        return mean is not None and bool(np.abs(mean).max() > _RAW_OFFSET)
    if node.op_type == "Quant" and others[2] is not None and not attributes(node).get("signed", 1):
        return bool(found.min() >= _RAW_STEP and others[2].max() >= _RAW_BITS)
    return False


def declare_raw_pixels(graph: onnx.GraphProto) -> list[str]:
    """Declare the input UINT8 where the network takes pixels from 0 to 255; a line where that was not declared."""
    edit = OnnxEdit(graph)
    if edit.datatype or not takes_raw_pixels(graph):
        return []
    edit.declare("UINT8")
    return ["its first constants are for pixels from 0 to 255, so it takes them as they are"]


def take_whole_pixels(graph: onnx.GraphProto) -> list[str]:
    """Let a first product without a quantiser of its own take whole pixels; what was changed, a line each.

    Raises:
        ArtifactError: what enters the product is not pixels times one scale and an offset that can go behind it.
    """
    edit = OnnxEdit(graph)
    notes: list[str] = []
    front = _read_front(edit, 1.0 if edit.datatype else 1 / PIXEL_MAX)
    product = front.reader
    bare = product is not None and product.op_type in _PRODUCTS and product.input[0] == front.tensor
    weights = edit.value_of(product.input[1]) if bare and product is not None else None
    if product is None or weights is None:
        return notes
    if edit.datatype and not front.affine:
        return notes  # integers enter as they are
    scale, zeros = _one_scale(product, front), _padded(product)
    offset, behind = front.offset, None
    if not zeros:
        behind = _behind(product, weights, offset)
    for node in front.affine:
        _bypass(edit, node)
    if not edit.datatype:
        edit.declare("UINT8")
    steps = _insert_difference(edit, product, offset, scale) if zeros and np.any(offset) else 0
    factor = scale / max(steps, 1)
    if factor != 1.0:
        whole, scaled = product.input[0], edit.new_tensor(edit.input)
        edit.insert(
            product, "Mul", [whole, edit.new_constant("scale", np.asarray(factor, np.float32))], [scaled]
        )
        product.input[0] = scaled
    notes.append(
        f"{product.name} takes whole pixels: no quantiser stands in front of it, one scale of {scale:.6g} does"
    )
    if steps:
        notes[-1] += f", and a pixel of {-offset.flat[0] / scale:g} is its 0, as its zero padding wants"
    if behind is not None and np.any(behind):
        _add_behind(edit, product, behind)
        notes.append(
            f"the offset in front of {product.name} goes behind it, a constant for each of its channels"
        )
    return notes


@dataclass(frozen=True, eq=False)
class _Front:
    """What stands between the input and its first real layer.

    Attributes:
        affine: The nodes that scale and shift.
        tensor: What the layer reads.
        reader: The layer; None where there is none.
        scale, offset: What the affine nodes make of pixels: scale * pixel + offset, in the shape of *tensor*.
    """

    affine: tuple[onnx.NodeProto, ...]
    tensor: str
    reader: onnx.NodeProto | None
    scale: Values
    offset: Values


def _read_front(edit: OnnxEdit, unit: float) -> _Front:
    shape = edit.shape(edit.input) or (1, 1)
    scale, offset = np.full(shape, unit), np.zeros(shape)
    affine: list[onnx.NodeProto] = []
    tensor = edit.input
    while (node := edit.only_reader(tensor)) is not None:
        changed = _scaled(edit, node, tensor, scale, offset)
        if changed is not None:
            affine.append(node)
        else:
            changed = _moved(edit, node, scale, offset)
        if changed is None:
            break
        scale, offset = changed
        tensor = node.output[0]
    return _Front(tuple(affine), tensor, node, scale, offset)


def _scaled(
    edit: OnnxEdit, node: onnx.NodeProto, tensor: str, scale: Values, offset: Values
) -> tuple[Values, Values] | None:
    """Scale and offset behind *node*, which computes with constants; None where it does something else."""
    if node.op_type in ("Cast", "Identity"):
        return scale, offset
    constants = [edit.value_of(name) for name in node.input if name != tensor]
    if node.op_type not in ("Add", "BatchNormalization", "Div", "Mul", "Sub") or any(
        value is None for value in constants
    ):
        return None
    values = [value.astype(np.float64) for value in constants if value is not None]
    first = node.input[0] == tensor
    if node.op_type == "BatchNormalization":
        gain, bias, mean, variance = (value.reshape(-1, *[1] * (scale.ndim - 2)) for value in values)
        by = gain / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        return scale * by, (offset - mean) * by + bias
    other = values[0]
    if np.broadcast_shapes(scale.shape, other.shape) != scale.shape:
        return None
    if node.op_type == "Mul":
        return scale * other, offset * other
    if node.op_type == "Div" and first:
        return scale / other, offset / other
    if node.op_type == "Add":
        return scale, offset + other
    if node.op_type == "Sub":
        return (scale, offset - other) if first else (-scale, other - offset)
    return None


def _moved(
    edit: OnnxEdit, node: onnx.NodeProto, scale: Values, offset: Values
) -> tuple[Values, Values] | None:
    """Scale and offset behind *node*, which only moves values; None where it does something else."""
    shape = edit.shape(node.output[0])
    if node.op_type == "Transpose":
        order = attributes(node).get("perm")
        return scale.transpose(order), offset.transpose(order)
    if shape is None or node.op_type not in (*SHAPES_ONLY, "MaxPool"):
        return None
    if node.op_type != "MaxPool":
        return scale.reshape(shape), offset.reshape(shape)
    if scale.min() <= 0 or not (_flat_maps(scale) and _flat_maps(offset)):
        return None
    corner = (slice(None), slice(None), *[slice(1)] * (scale.ndim - 2))
    return np.broadcast_to(scale[corner], shape), np.broadcast_to(offset[corner], shape)


def _flat_maps(values: Values) -> bool:
    """Is each channel one value throughout?"""
    maps = values.reshape(values.shape[1], -1)
    return bool(np.ptp(maps, axis=1).max() <= _SAME * max(np.abs(maps).max(), 1e-30))


def _one_scale(product: onnx.NodeProto, front: _Front) -> float:
    scale = front.scale
    least, most = float(scale.min()), float(scale.max())
    if most - least > _SAME * max(abs(least), abs(most)):
        raise ArtifactError(
            f"what enters {product.name} is not quantised: its pixels have scales from {least:.6g} to {most:.6g}, "
            "and products of them are whole numbers for one scale only",
            fix=_FIX,
            nodes=[product.name],
        )
    if least <= 0 <= most:
        raise ArtifactError(
            f"what enters {product.name} is not quantised: its pixels are multiplied with 0", fix=_FIX
        )
    return float(scale.flat[0])


def _padded(product: onnx.NodeProto) -> bool:
    found = attributes(product)
    return product.op_type == "Conv" and (
        any(found.get("pads", ())) or found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    )


def _behind(product: onnx.NodeProto, weights: Values, offset: Values) -> Values:
    """What *offset* adds to the sums of *product*, in a shape that is added to them."""
    found, weights = attributes(product), weights.astype(np.float64)
    if product.op_type != "Conv":
        matrix = weights.T if found.get("transB", 0) else weights
        return np.asarray(offset @ matrix * found.get("alpha", 1.0))
    if not _flat_maps(offset):
        raise ArtifactError(
            f"what enters {product.name} is not quantised: its pixels have an offset for each place of the image, "
            "which a convolution cannot take behind it",
            fix=_FIX,
            nodes=[product.name],
        )
    channels = offset.reshape(offset.shape[1], -1)[:, 0]
    sums = weights.reshape(*weights.shape[:2], -1).sum(axis=2)  # output channels x inputs of its group
    inputs, groups = weights.shape[1], int(found.get("group", 1))
    of_group = np.repeat(np.arange(groups), len(sums) // groups)
    totals = [
        float(row @ channels[at * inputs : (at + 1) * inputs]) for row, at in zip(sums, of_group, strict=True)
    ]
    return np.reshape(totals, (1, -1, *[1] * (offset.ndim - 2)))


def _insert_difference(edit: OnnxEdit, product: onnx.NodeProto, offset: Values, scale: float) -> int:
    """Put ``pixel - zero`` as a signed integer in front of *product*; how many of its steps a pixel is."""
    zeros = -offset / scale
    zero = float(zeros.flat[0])
    steps = next((many for many in (1, 2) if np.abs(zeros * many - round(zero * many)).max() < _WHOLE), None)
    lowest, highest = -zero, PIXEL_MAX - zero
    if steps is None or max(abs(lowest), abs(highest)) > PIXEL_MAX + _WHOLE:
        raise ArtifactError(
            f"what enters {product.name} is not quantised: its zero padding puts the pixel "
            f"{' and '.join(f'{each:.6g}' for each in np.unique(zeros)[:3])} around the image, which is neither a "
            "whole nor a half one",
            fix=f"{_FIX}; without padding it compiles as it is",
            nodes=[product.name],
        )
    lowest, highest = round(lowest * steps), round(highest * steps)
    bits = 1 + max((-lowest - 1).bit_length() if lowest else 0, highest.bit_length())
    thresholds = np.repeat(np.arange(1, PIXEL_MAX + 1) - 0.5, steps)[np.newaxis].astype(np.float32)
    counted = edit.new_tensor("difference")
    edit.insert(
        product,
        "MultiThreshold",
        [product.input[0], edit.new_constant("thresholds", thresholds)],
        [counted],
        out_dtype=f"INT{bits}",
        out_bias=float(lowest),
        data_layout="NCHW",
    )
    product.input[0] = counted
    return steps


def _add_behind(edit: OnnxEdit, product: onnx.NodeProto, values: Values) -> None:
    from onnx import helper

    result, bare, at = product.output[0], edit.new_tensor(product.output[0]), edit.place(product)
    constant = edit.new_constant("offset", values.astype(np.float32))
    product.output[0] = bare
    edit.graph.node.insert(at + 1, helper.make_node("Add", [bare, constant], [result], f"Add_{result}"))


def _bypass(edit: OnnxEdit, node: onnx.NodeProto) -> None:
    source = edit.operand(node)
    for reader in edit.readers(node.output[0]):
        replace_input(reader, node.output[0], source)
    edit.remove(node)
