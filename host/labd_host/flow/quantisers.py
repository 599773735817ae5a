"""Quantisers become thresholds: a step of `labd_host.flow.stages`."""

from typing import Any

import numpy as np

from labd_host.flow.finn_door import plain_graph
from labd_host.proof.roundings import roundings, settled


def convert_quantisers(model: Any) -> Any:
    """Make thresholds of *model*'s quantisers, each midway between two of the integers that reach it."""
    from finn.transformation.qonnx.convert_qonnx_to_finn import ConvertQONNXtoFINN

    found = roundings(plain_graph(model))
    model = model.transform(ConvertQONNXtoFINN())
    made = [node for node in model.graph.node if node.op_type == "MultiThreshold"]
    if len(made) != len(found):
        return model
    for node, rounding in zip(made, found, strict=True):
        if rounding is not None:
            thresholds = model.get_initializer(node.input[1])
            moved = settled(rounding, thresholds.astype(np.float64))
            if moved is not None:
                model.set_initializer(node.input[1], moved.astype(np.float32))
    return model
