"""Thresholds that give -1 and 1: FINN's hardware has them, some of its transformations refuse them.

They are declared bits for such a transformation, and signs again afterwards. `infer_thresholds` is a step of
`labd_host.flow.stages`.
"""

from collections.abc import Callable, Collection
from typing import Any

BIPOLAR = "BIPOLAR"


def through_bits(model: Any, transform: Callable[[Any], Any], chosen: Callable[[Any], bool]) -> Any:
    """*transform* of *model*, in which the *chosen* thresholds that give signs are bits for as long as it takes.

    Args:
        model: To be transformed.
        transform: From a model to a model; it makes hardware layers of thresholds.
        chosen: Of a MultiThreshold node.
    """
    from qonnx.core.datatype import DataType
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.infer_datatypes import InferDataTypes

    signs = set()
    for node in model.graph.node:
        if node.op_type == "MultiThreshold" and chosen(node):
            result = node.output[0]
            if model.get_tensor_datatype(result).name == BIPOLAR:
                counts = getCustomOp(node)
                for key, value in (("out_dtype", "BINARY"), ("out_scale", 1.0), ("out_bias", 0.0)):
                    counts.set_nodeattr(key, value)
                model.set_tensor_datatype(result, DataType["BINARY"])
                signs.add(node.input[1])
    model = transform(model)
    for node in _with_thresholds(model, signs):
        getCustomOp(node).set_nodeattr("outputDataType", BIPOLAR)
    return model.transform(InferDataTypes())


def infer_thresholds(model: Any) -> Any:
    """A hardware layer of every MultiThreshold that stands alone, those that give -1 and 1 included."""
    from finn.transformation.fpgadataflow.convert_to_hw.thresholding import InferThresholdingLayer

    return through_bits(model, lambda each: each.transform(InferThresholdingLayer()), lambda _: True)


def _with_thresholds(model: Any, thresholds: Collection[str]) -> list[Any]:
    """The hardware layers that count *thresholds*."""
    return [
        node
        for node in model.graph.node
        if node.op_type != "MultiThreshold" and any(name in thresholds for name in node.input)
    ]
