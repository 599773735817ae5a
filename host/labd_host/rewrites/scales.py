"""Quantisers of activations with a scale for each channel.

A product adds up its channels. Their integers may be added where all have one scale; so scales that are the same
become one, and others are refused in front of a product that mixes channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labd_host.rewrites.onnx_edit import SHAPES_ONLY, OnnxEdit, attributes
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_MOVES = (*SHAPES_ONLY, "GlobalAveragePool", "MaxPool", "Pad", "Transpose")


def join_scales(graph: onnx.GraphProto) -> list[str]:
    """Make one scale of equal ones; a line for each quantiser that changed.

    Raises:
        ArtifactError: a product adds up channels of different scales.
    """
    edit, notes = OnnxEdit(graph), []
    for node in graph.node:
        if node.op_type not in ("BipolarQuant", "Quant") or edit.is_constant(node.input[0]):
            continue
        scale = edit.value_of(node.input[1])
        if scale is None or scale.size == 1:
            continue
        if np.all(scale == scale.flat[0]):
            node.input[1] = edit.new_constant("scale", np.asarray(scale.flat[0], np.float32))
            notes.append(f"the {scale.size} equal scales of {node.name} ({node.op_type}) are one")
            continue
        product = _product_behind(edit, node)
        if product is not None:
            raise ArtifactError(
                f"{node.name} ({node.op_type}) has {scale.size} scales, from {scale.min():.6g} to {scale.max():.6g}, "
                f"and {product.name} ({product.op_type}) adds up its channels: integers of one scale only can be added",
                fix="take one scale for all channels (scaling_per_output_channel=False) and train and export it again",
                nodes=[node.name],
            )
    return notes


def _product_behind(edit: OnnxEdit, quantiser: onnx.NodeProto) -> onnx.NodeProto | None:
    """The product that adds up the channels of *quantiser*; None where there is none."""
    node = edit.only_reader(quantiser.output[0])
    while node is not None and node.op_type in _MOVES:
        node = edit.only_reader(node.output[0])
    if node is None or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    return node if int(attributes(node).get("group", 1)) == 1 else None
