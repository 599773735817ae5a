"""The scores of the last layer: one scale and one offset of its sums, or the network is refused.

The accelerator chooses the class by its integer sums. So a scale or an offset that each class has of its own,
which changes the choice, cannot stay behind the last layer.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from labd_host.proof.averaged_maps import AVERAGES
from labd_host.proof.exact_sums import PRODUCTS
from labd_host.proof.plain_graph import Graph, Node, Values
from labd_host.proof.value_scales import constant_of, constant_operand, scale_of
from labd_shared.errors import ArtifactError, StageFailed

_QUANTISERS = ("Quant", "BipolarQuant", "MultiThreshold")
_FIX_OFFSET = (
    "export the last layer without a bias (bias=False), or put an 8-bit quantiser behind it (QuantIdentity)"
)
_FIX_SCALE = (
    "quantise the last layer's weights with one scale (scaling_per_output_type='tensor'), or put a quantiser of "
    "8 bits behind it (QuantIdentity)"
)


def check_scores(graph: Graph) -> None:
    """Refuse a network whose classes have scores on scales or with offsets of their own.

    Args:
        graph: The export, its constants folded, quantised weights not.

    Raises:
        ArtifactError: naming the node.
    """
    for node, what, values in _behind_the_last_sums(graph):
        if np.unique(values).size == 1:
            continue
        low, high = float(values.min()), float(values.max())
        raise ArtifactError(
            f"{node.name or node.outputs[0]} ({node.op}) gives each class {what} of its own, {low:.4g} to {high:.4g}: "
            "the accelerator chooses the class by integer sums, which have one",
            fix=_FIX_SCALE if what == "a scale" else _FIX_OFFSET,
            nodes=[node.name],
        )


def _behind_the_last_sums(graph: Graph) -> Iterator[tuple[Node, str, Values]]:
    """Node, "a scale" or "an offset", and the values, of all that the last sums are multiplied with or added to."""
    dependent = set(graph.dependent)
    nodes = [node for node in graph.nodes if not dependent.isdisjoint(node.inputs)]
    last = max((at for at, node in enumerate(nodes) if node.op in (*PRODUCTS, *AVERAGES)), default=len(nodes))
    if any(node.op in _QUANTISERS for node in nodes[last:]):
        return
    for node in nodes[last:]:
        if node.op in PRODUCTS:
            try:
                yield node, "a scale", scale_of(graph, node.inputs[1])
            except StageFailed:  # weights without a quantiser have their own refusal
                return
            if node.op in ("Gemm", "Conv") and len(node.inputs) > 2 and node.inputs[2]:
                maker = graph.producer(node.inputs[2])
                yield (
                    node,
                    "an offset",
                    constant_of(graph, maker, 0) if maker else constant_of(graph, node, 2),
                )
        elif node.op == "BatchNormalization":
            gain, bias, mean, variance = (constant_of(graph, node, index) for index in (1, 2, 3, 4))
            scale = gain / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
            yield node, "a scale", scale
            yield node, "an offset", bias - mean * scale
        elif node.op in ("Mul", "Div", "Add", "Sub"):
            value, _ = constant_operand(graph, node)
            if value is not None:
                yield node, "a scale" if node.op in ("Mul", "Div") else "an offset", value


def share_one_value(model: Any) -> Any:
    """Make one value of every constant behind the scores that holds the same for each class."""
    for node in model.graph.node:
        if node.op_type not in ("Mul", "Div", "Add", "Sub"):
            continue
        for name in node.input:
            value = model.get_initializer(name)
            if value is not None and value.size > 1 and np.unique(value).size == 1:
                model.set_initializer(name, value.reshape(-1)[:1])
    return model
