"""Averages of windows, and of maps that are not square, as depthwise convolutions whose weights are all 1.

FINN has hardware for the mean of a whole square map. Another mean is a sum of each channel's pixels, which its
depthwise hardware computes, times a constant, which goes into the thresholds behind. So a quantiser must follow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from labd_host.rewrites.onnx_edit import QUANTISERS, SHAPES_ONLY, OnnxEdit, attributes
from labd_host.rewrites.rising import FUNCTIONS

if TYPE_CHECKING:
    import onnx

_AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_PASSES = (*FUNCTIONS, *SHAPES_ONLY, "Add", "BatchNormalization", "Div", "Mul", "Relu", "Sub", "Transpose")


def sum_windows(graph: onnx.GraphProto) -> list[str]:
    """Make depthwise convolutions of averages that FINN has no hardware for; a line for each."""
    edit, notes = OnnxEdit(graph), []
    for result in [node.output[0] for node in graph.node if node.op_type in _AVERAGES]:
        node = edit.maker(result)
        sizes = None if node is None else edit.shape(node.input[0])
        window = None if node is None or sizes is None else _window(edit, node, sizes)
        if node is None or sizes is None or window is None or not _quantised_behind(edit, result):
            continue
        weights = _ones(edit, node, sizes[1], window["kernel_shape"])
        drops = node.op_type == "ReduceMean" and not attributes(node).get("keepdims", 1)
        sums = edit.new_tensor("means") if drops else result
        source, name, kind = node.input[0], node.name, node.op_type
        edit.insert(node, "Conv", [source, weights], [sums], group=sizes[1], dilations=[1, 1], **window)
        if drops:
            edit.set_shape(sums, (*sizes[:2], 1, 1))
            flat = edit.new_constant("shape", np.array(sizes[:2], np.int64))
            edit.insert(node, "Reshape", [sums, flat], [result])
        edit.remove(node)
        notes.append(f"{name} ({kind}) is a depthwise convolution with weights of 1, and a scale behind it")
    return notes


def _ones(edit: OnnxEdit, node: onnx.NodeProto, channels: int, kernel: list[int]) -> str:
    """Weights of 1 in front of *node*, times what makes a mean of the sum."""
    ones, scale = np.ones((channels, 1, *kernel), np.float32), np.asarray(1 / math.prod(kernel), np.float32)
    values = {
        "ones": ones * scale,
        "scale": scale,
        "zero": np.zeros((), np.float32),
        "bits": np.full((), 2, np.float32),
    }
    parts = [edit.new_constant(stem, value) for stem, value in values.items()]
    weights = edit.new_tensor("weights")
    edit.insert(node, "Quant", parts, [weights], signed=1, narrow=1, rounding_mode="ROUND")
    edit.set_shape(weights, ones.shape)
    return weights


def _window(edit: OnnxEdit, node: onnx.NodeProto, sizes: tuple[int, ...]) -> dict[str, Any] | None:
    """Kernel, strides and padding of the average *node*; None where FINN has hardware for it, or for no form of it."""
    if len(sizes) != 4:
        return None
    found, whole = attributes(node), list(sizes[2:])
    if node.op_type == "ReduceMean":
        axes = found.get("axes") if len(node.input) < 2 else edit.value_of(node.input[1])
        if axes is None or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            return None
    kernel = list(found.get("kernel_shape", whole))
    pads = list(found.get("pads", [0] * 4))
    odd = found.get("ceil_mode", 0) or found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if (
        odd
        or (any(pads) and not found.get("count_include_pad", 0))
        or (kernel == whole and kernel[0] == kernel[1])
    ):
        return None
    strides = list(found.get("strides", [1, 1]))
    return {"kernel_shape": kernel, "strides": strides, "pads": pads}


def _quantised_behind(edit: OnnxEdit, tensor: str) -> bool:
    """Is a quantiser the next that makes anything else of *tensor*?"""
    while (node := edit.only_reader(tensor)) is not None and node.op_type in _PASSES:
        tensor = node.output[0]
    return node is not None and node.op_type in QUANTISERS
