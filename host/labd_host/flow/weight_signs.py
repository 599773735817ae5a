"""Negative scales of channels that FINN leaves between a product and its thresholds.

Thresholds need a rising input. So FINN factors -1 out of a negative scale and turns the signs of the channel's
weights; where a weight is the lowest value of its type (-128 of INT8), it does not, since 128 is none. One bit more
holds it.
"""

from typing import Any

import numpy as np

from labd_host.proof.plain_graph import Values


def widen_weights(model: Any) -> Any:
    """Give weights a bit more where a -1 behind their product could not go into them otherwise."""
    from qonnx.core.datatype import DataType

    for node in model.graph.node:
        behind = model.find_consumers(node.output[0]) or []
        if node.op_type not in ("Conv", "MatMul") or len(behind) != 1 or behind[0].op_type != "Mul":
            continue
        weights: Values | None = model.get_initializer(node.input[1])
        signs: Values | None = model.get_initializer(behind[0].input[1])
        kind = model.get_tensor_datatype(node.input[1])
        if weights is None or signs is None or not np.isin(signs, (-1, 1)).all() or not kind.is_integer():
            continue
        if kind.signed() and not kind.allowed(-weights.min()):
            model.set_tensor_datatype(node.input[1], DataType[f"INT{kind.bitwidth() + 1}"])
    return model
