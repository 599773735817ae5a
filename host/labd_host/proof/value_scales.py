"""What the integers of a tensor were multiplied with on their way from a quantiser or a constant."""

import numpy as np

from labd_host.dataflow.layers import kind_of
from labd_host.proof.averaged_maps import AVERAGES, averaged_pixels
from labd_host.proof.plain_graph import Graph, Node, Values
from labd_shared.errors import StageFailed

SHAPES_ONLY = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
UPSAMPLES = ("Resize", "Upsample")
MOVES_VALUES = (*SHAPES_ONLY, *UPSAMPLES, "Transpose", "MaxPool", "MaxPoolNHWC", "Im2Col", "Pad")


def scale_of(graph: Graph, tensor: str) -> Values:
    """One scale, or one for each channel, of the integers in *tensor*.

    Raises:
        StageFailed: no quantiser made the tensor, or its scale is computed.
    """
    node = graph.producer(tensor)
    if node is None or node.op == "MultiThreshold" or kind_of(node.kind) is not None:
        return np.ones(())  # an input, integer weights, thresholds' counts, a hardware layer's values
    if node.op in ("BipolarQuant", "Quant"):
        return _flat(constant_of(graph, node, 1))
    if node.op in AVERAGES:
        return average_scale(graph, node)
    if node.op in MOVES_VALUES:
        return scale_of(graph, node.inputs[0])
    if node.op in ("Mul", "Add"):
        constant, other = constant_operand(graph, node)
        if constant is not None:  # an offset is a whole number of steps, or the sums will not be integers
            return scale_of(graph, other) * (_flat(constant) if node.op == "Mul" else 1.0)
    raise StageFailed(
        f"the operand {tensor} of a matrix product comes from {node.name} ({node.op}), no quantiser",
        fix="put a quantiser in front of that layer (QuantIdentity, QuantReLU) and export again",
    )


def average_scale(graph: Graph, node: Node) -> Values:
    """What the sums of *node*'s integers over the map were multiplied with."""
    return scale_of(graph, node.inputs[0]) / averaged_pixels(graph, node)


def spread(scale: Values, values: Values) -> Values:
    """A scale for each channel in the shape of feature maps (N, channels, height, width)."""
    return scale.reshape(-1, 1, 1) if scale.size > 1 and values.ndim == 4 else scale


def constant_of(graph: Graph, node: Node, index: int) -> Values:
    """Parameter *index* of *node*.

    Raises:
        StageFailed: the network computes it.
    """
    value = graph.constants.get(node.inputs[index])
    if value is None:
        raise StageFailed(
            f"{node.name} ({node.op}) computes its parameter {node.inputs[index]}",
            fix="export the network again with constant scales and bit widths",
        )
    return value


def constant_operand(graph: Graph, node: Node) -> tuple[Values | None, str]:
    """The constant operand of a two-operand node, and the name of the other."""
    for index in (1, 0):
        if node.inputs[index] in graph.constants:
            return graph.constants[node.inputs[index]], node.inputs[1 - index]
    return None, node.inputs[0]


def _flat(scale: Values) -> Values:
    """A scale for each column, or one for all."""
    return scale.reshape(-1) if scale.size > 1 else scale.reshape(())
