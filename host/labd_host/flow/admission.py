"""Can this network be built at all? Asked of an export before anything long starts.

FINN notices most of what it cannot build late, in words about its own graph. Here the export's own nodes are
named, with the reason and the cure. What passes can still fail further on, where the reason is FINN's.

`check_export` looks at the export as it was read, `check_network` at the graph without its constant parts; what
enters each layer is looked at in `labd_host.flow.admission_values`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from labd_host.flow.admission_values import PRODUCTS, QUANTISERS, check_values
from labd_host.flow.depthwise import groups_of
from labd_host.flow.upsampling import upsampled
from labd_host.proof.averaged_maps import AVERAGES, averaged_map
from labd_host.proof.plain_graph import Graph, Node
from labd_host.proof.value_scales import UPSAMPLES
from labd_host.rewrites.rising import FUNCTIONS
from labd_shared.errors import ArtifactError

_OTHERS = (
    *AVERAGES, "Add", "BatchNormalization", "Div", "Flatten", "Identity", "Im2Col", "MaxPool", "MaxPoolNHWC", "Mul",
    *UPSAMPLES, "Pad", "Relu", "Reshape", "Squeeze", "Sub", "TopK", "Transpose", "Unsqueeze",
)  # fmt: skip
BUILDABLE = frozenset((*QUANTISERS, *PRODUCTS, *_OTHERS))


class NoHardware(NamedTuple):
    """Operations without hardware, why, and what to do instead."""

    operations: str
    reason: str
    cure: str


_CHAIN = (
    "change the network to a chain of convolutions (dense or depthwise), matrix products, max-pools, global "
    "averages, nearest upsampling, scales, Relu and quantisers of 1 to 8 bits"
)
_REFUSED = (
    NoHardware(
        " ".join(FUNCTIONS),
        "no quantiser follows it, so the two cannot become thresholds",
        "put a quantiser behind it (QuantSigmoid, QuantTanh, QuantHardTanh, QuantIdentity) and train again",
    ),
    NoHardware(
        "Exp Gelu HardSwish Log Mish Sqrt Swish",
        "thresholds are made of functions that never fall and take every number",
        "take QuantReLU or QuantIdentity in its place and train again",
    ),
    NoHardware(
        "ArgMax LogSoftmax Softmax",
        "labd itself puts the choice of the best class behind the scores, and builds none inside the network",
        "export the network without it",
    ),
    NoHardware(
        "GlobalMaxPool LpPool QuantAvgPool2d Trunc",
        "of pools, labd builds those of the maximum and the average of a whole map",
        "take MaxPool2d or AdaptiveAvgPool2d(1) in its place and train again",
    ),
    NoHardware("Concat Gather Slice Split Where", "labd builds chains, each layer fed by the one before it", _CHAIN),
    NoHardware("GRU LSTM RNN", "FINN has no recurrent layers", _CHAIN),
    NoHardware(
        "DequantizeLinear QLinearConv QLinearMatMul QuantizeLinear",
        "it is quantised in ONNX's own form (QDQ), labd reads QONNX",
        "export it with brevitas.export.export_qonnx",
    ),
)  # fmt: skip
_REFUSED_OF = {op: refused for refused in _REFUSED for op in refused.operations.split()}
_UNKNOWN = NoHardware("", "labd knows no layer of FINN's for it", _CHAIN)
_SHOWN = 3  # nodes named in one sentence


def check_export(graph: Graph, name: str) -> None:
    """Refuse an export that is not a quantised network of one image.

    Args:
        graph: The export as `labd_host.exports.read_export` gives it.
        name: Of its file.

    Raises:
        ArtifactError: its input is not one image, it is not quantised, or it has operations nobody knows.
    """
    from onnx import defs

    shape = graph.shapes[graph.input]
    if shape[0] != 1:
        said = ", ".join(map(str, shape))
        raise ArtifactError(
            f"the input {graph.input} of {name} has the shape ({said}), one image is wanted",
            fix="export it for a batch of one: (1, channels, height, width)",
        )
    strange = [node for node in graph.nodes if node.op not in BUILDABLE and not defs.has(node.op)]
    if strange:
        raise _unbuildable(strange, graph)
    if not any(node.op in QUANTISERS for node in graph.nodes):
        reading = [_REFUSED_OF[node.op] for node in graph.nodes if node.op == "DequantizeLinear"]
        raise ArtifactError(
            f"{name} is not a QONNX network: of its {len(graph.nodes)} nodes none is a "
            f"{', '.join(QUANTISERS[:-1])} or {QUANTISERS[-1]}",
            fix=reading[0].cure
            if reading
            else "train it with Brevitas and export it with export_qonnx, as labd train does",
        )


def check_network(graph: Graph) -> None:
    """Refuse what has no hardware layer, is not a chain, or works on values that are not quantised.

    Args:
        graph: The export, its constants folded, quantised weights not.

    Raises:
        ArtifactError: naming the nodes.
    """
    strange = [
        node
        for node in graph.nodes
        if not _buildable(graph, node)
        or _partly_grouped(graph, node)
        or _averages_part(graph, node)
        or (node.op in UPSAMPLES and isinstance(upsampled(graph, node), str))
    ]
    if strange:
        raise _unbuildable(strange, graph)
    for tensor in graph.dependent:
        readers = [node.name for node in graph.consumers(tensor)]
        if len(readers) > 1:
            raise ArtifactError(
                f"{' and '.join(readers[:2])} both read {tensor}: a network with branches, labd builds chains",
                fix=_CHAIN,
            )
    for node in graph.nodes:
        if node.op in AVERAGES:
            _check_averaged(graph, node)
    check_values(graph)


def _buildable(graph: Graph, node: Node) -> bool:
    """Whether *node* is of a kind that can be built: a function only where its values are quantised next."""
    if node.op not in FUNCTIONS:
        return node.op in BUILDABLE
    readers = graph.consumers(node.outputs[0])
    while len(readers) == 1 and readers[0].op in (*FUNCTIONS, "Add", "Div", "Identity", "Mul", "Relu", "Sub"):
        readers = graph.consumers(readers[0].outputs[0])
    return [reader.op in QUANTISERS for reader in readers] == [True]


def _check_averaged(graph: Graph, node: Node) -> None:
    """The sums of a map of sums need more than the 32 bits that a layer's values have."""
    before = graph.producer(node.inputs[0])
    while before is not None and before.op not in (*QUANTISERS, *PRODUCTS):
        before = graph.producer(before.inputs[0])
    if before is None or before.op in PRODUCTS:
        source = graph.input if before is None else f"{before.name} ({before.op})"
        raise ArtifactError(
            f"{node.name} ({node.op}) averages what {source} gives, no quantiser stands between",
            fix="put a quantiser of 1 to 8 bits in front of the average (QuantIdentity, QuantReLU) and export again",
        )


def _partly_grouped(graph: Graph, node: Node) -> bool:
    """Whether *node* is a convolution in groups of which FINN makes neither dense nor depthwise hardware."""
    if node.op != "Conv":
        return False
    groups, taken, given = groups_of(graph, node)
    return groups != 1 and not groups == taken == given


def _averages_part(graph: Graph, node: Node) -> bool:
    """Whether *node* averages anything but a whole square map: FINN's C++ knows one side of it."""
    if node.op not in AVERAGES:
        return False
    height, width = averaged_map(graph, node) or (0, 1)
    return height != width


def _unbuildable(nodes: list[Node], graph: Graph) -> ArtifactError:
    rest = len(nodes) - _SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    return ArtifactError(
        f"there is no hardware for {'; '.join(_named(nodes[:_SHOWN], graph))}{more}",
        fix=_REFUSED_OF.get(nodes[0].op, _UNKNOWN).cure,
        nodes=[node.name for node in nodes],
    )


def _named(nodes: list[Node], graph: Graph) -> Iterator[str]:
    for node in nodes:
        reason = _REFUSED_OF.get(node.op, _UNKNOWN).reason
        if _partly_grouped(graph, node):
            groups, taken, given = groups_of(graph, node)
            reason = (
                f"its {groups} groups share {taken} channels in and {given} out; of grouped convolutions, "
                "FINN has hardware for depthwise ones: as many groups as channels in and out"
            )
        if node.op in UPSAMPLES and isinstance(found := upsampled(graph, node), str):
            reason = found
        if node.op in AVERAGES:
            reason = "of averages, labd builds those of a whole square feature map, others where a quantiser follows"
        yield f"{node.name or node.outputs[0]} ({node.op}): {reason}"
