"""Thresholds kept off the values that a sum can take, so that no rounding decides an answer.

A sum of 1-bit products is an integer of one parity, and batch normalisation and sign compare it with a
threshold. Where training leaves that threshold within a rounding error of such an integer, float32 in
another order (onnxruntime, FINN's streamlining) decides the sum at the threshold either way, and two exact
tools answer differently. So an export moves it a little further away on the side where it is: for every sum
there is, the sign stays what exact arithmetic gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

STEP = 2  # between neighbouring sums of +1 and -1
MARGIN = 1 / 32  # thresholds are kept this far from every sum; float32 errs by about 1e-4 on these networks


def keep_off_sums(model: onnx.ModelProto) -> int:
    """Move the thresholds of *model* that are too near a sum, in place; how many those were.

    Only where the sum is of 1-bit weights times 1-bit activations and its normalised form goes to a sign.
    """
    from onnx import numpy_helper

    constants = {entry.name: entry for entry in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    signs = {node.input[0] for node in model.graph.node if node.op_type == "BipolarQuant"}
    moved = 0
    for node in model.graph.node:
        if node.op_type != "BatchNormalization" or node.output[0] not in signs:
            continue
        product = made_by.get(node.input[0])
        addends = None if product is None else _addends(product, made_by, constants)
        if addends is None:
            continue
        gamma, beta, mean, variance = (
            numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[1:5]
        )
        deviation = np.sqrt(variance + _epsilon(node))
        threshold = mean - beta * deviation / gamma
        wanted = _off(threshold, addends, gamma > 0)
        if not np.array_equal(wanted, threshold):
            moved += int((wanted != threshold).sum())
            shifted = (mean + (wanted - threshold)).astype(np.float32)
            constants[node.input[3]].CopyFrom(numpy_helper.from_array(shifted, node.input[3]))
    return moved


def _off(
    threshold: npt.NDArray[np.float64], addends: int, rising: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """*threshold*, at least MARGIN from every sum of *addends* signs; a sum equal to it stays a +1."""
    nearest = STEP * np.round((threshold - addends) / STEP) + addends
    distance = threshold - nearest
    above = np.where(distance == 0, ~rising, distance > 0)
    near = np.abs(distance) < MARGIN
    return np.where(near, nearest + np.where(above, MARGIN, -MARGIN), threshold)


def _addends(product: Any, made_by: dict[str, Any], constants: dict[str, Any]) -> int | None:
    """How many products of signs *product* adds up, None where it adds others."""
    from onnx import numpy_helper

    transposed = any(attribute.name == "transB" and attribute.i == 1 for attribute in product.attribute)
    if product.op_type != "Conv" and not (product.op_type == "Gemm" and transposed):
        return None  # the weights of those two are (outputs, inputs...)
    found = made_by.get(product.input[1])
    if found is None or found.op_type != "BipolarQuant" or found.input[0] not in constants:
        return None
    weights = numpy_helper.to_array(constants[found.input[0]])
    source = made_by.get(product.input[0])
    while source is not None and source.op_type in ("MaxPool", "Reshape", "Flatten"):
        source = made_by.get(source.input[0])
    if source is None or source.op_type != "BipolarQuant":
        return None
    for quantiser in (found, source):
        scale = constants.get(quantiser.input[1])
        if scale is None or not np.all(numpy_helper.to_array(scale) == 1):
            return None
    return int(weights.size // weights.shape[0])


def _epsilon(node: onnx.NodeProto) -> float:
    return next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
