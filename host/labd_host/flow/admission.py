"""Can this network be built at all? Asked of an export before anything long starts.

FINN notices most of what it cannot build late, in words about its own graph. Here the export's own nodes are
named, with the reason. What passes can still fail further on, where the reason is FINN's.

`check_export` looks at the file as it is, `check_network` at the graph without its constant parts, when shape
arithmetic is gone.
"""

from collections.abc import Iterator
from pathlib import Path

from labd_host.flow.averages import AVERAGES, averaged_map
from labd_host.flow.depthwise import groups_of
from labd_host.flow.onnx_graph import read_graph
from labd_host.flow.plain_graph import Graph, Node
from labd_host.flow.upsampling import UPSAMPLES, upsampled
from labd_shared.errors import ArtifactError

QUANTISERS = ("Quant", "BipolarQuant", "MultiThreshold")
PRODUCTS = ("MatMul", "Gemm", "Conv", "XnorPopcountMatMul")
_OTHERS = (
    *AVERAGES, "Add", "BatchNormalization", "Div", "Flatten", "Identity", "Im2Col", "MaxPool", "MaxPoolNHWC", "Mul",
    *UPSAMPLES, "Pad", "Relu", "Reshape", "Squeeze", "Sub", "TopK", "Transpose", "Unsqueeze",
)  # fmt: skip
BUILDABLE = frozenset((*QUANTISERS, *PRODUCTS, *_OTHERS))
_REASONS = {
    "of activations, FINN makes thresholds of quantisers and Relu only": (
        "Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log PRelu Selu Sigmoid Softplus Softsign Tanh"
    ),
    "labd itself puts the choice of the best class behind the scores; leave it out": "ArgMax LogSoftmax Softmax",
    "of pools, labd builds those of the maximum and the average of a whole map": (
        "GlobalMaxPool LpPool QuantAvgPool2d Trunc"
    ),
    "labd builds chains, each layer fed by the one before it": "Concat Gather Slice Split Where",
    "FINN has no recurrent layers": "GRU LSTM RNN",
}
_REASON_OF = {op: reason for reason, ops in _REASONS.items() for op in ops.split()}
_FIX = (
    "change the network to a chain of convolutions (dense or depthwise), matrix products, max-pools, global "
    "averages, nearest upsampling, scales, Relu and quantisers of 1 to 4 bits"
)
_SHOWN = 3  # nodes named in one sentence


def check_export(path: Path) -> None:
    """Refuse a file that is no exported, quantised network of one image.

    Raises:
        ArtifactError: it is no ONNX, no QONNX, or its input is not one image.
    """
    from onnx import defs

    try:
        graph = read_graph(path)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ArtifactError(f"{path} is damaged: {error}", fix="export it again: labd train") from error
    shape = graph.shapes[graph.input]
    if len(shape) < 2 or shape[0] != 1 or min(shape) < 1:
        said = ", ".join(str(axis) if axis > 0 else "any" for axis in shape)
        raise ArtifactError(
            f"the input {graph.input} of {path.name} has the shape ({said}), one image of a fixed size is wanted",
            fix="export it for a batch of one: (1, channels, height, width)",
        )
    made = {name for node in graph.nodes for name in node.outputs} | set(graph.constants) | {graph.input, ""}
    for node in graph.nodes:
        unmade = [name for name in node.inputs if name not in made]
        if unmade:
            raise ArtifactError(
                f"{node.name} ({node.op}) reads {unmade[0]}, which no node makes; labd takes one input, "
                f"{graph.input}",
                fix="export it again with one input and all weights inside the file",
            )
    strange = [node for node in graph.nodes if node.op not in BUILDABLE and not defs.has(node.op)]
    if strange:
        raise _unbuildable(strange, graph)
    if not any(node.op in QUANTISERS for node in graph.nodes):
        raise ArtifactError(
            f"{path.name} is no quantised network: of its {len(graph.nodes)} nodes none is a "
            f"{', '.join(QUANTISERS[:-1])} or {QUANTISERS[-1]}",
            fix="train it with Brevitas and export it with export_qonnx, as labd train does",
        )


def check_network(graph: Graph) -> None:
    """Refuse what has no hardware layer, is no chain, or multiplies with float weights.

    Args:
        graph: The export, its constants folded, quantised weights not.

    Raises:
        ArtifactError: naming the nodes.
    """
    strange = [
        node
        for node in graph.nodes
        if node.op not in BUILDABLE
        or _partly_grouped(graph, node)
        or _averages_part(graph, node)
        or (node.op in UPSAMPLES and isinstance(upsampled(graph, node), str))
    ]
    if strange:
        raise _unbuildable(strange, graph)
    computed = set(graph.dependent)
    for tensor in graph.dependent:
        readers = [node.name for node in graph.consumers(tensor)]
        if len(readers) > 1:
            raise ArtifactError(
                f"{' and '.join(readers[:2])} both read {tensor}: a network with branches, labd builds chains",
                fix=_FIX,
            )
    for node in graph.nodes:
        if node.op in PRODUCTS and node.inputs[1] not in computed:
            _check_weights(graph, node)
        if node.op in AVERAGES:
            _check_averaged(graph, node)


def _check_weights(graph: Graph, node: Node) -> None:
    weights = node.inputs[1]
    maker = graph.producer(weights)
    while maker is not None and maker.op not in QUANTISERS:
        weights = maker.inputs[0]
        maker = graph.producer(weights)
    if maker is None and graph.datatypes.get(weights, "FLOAT32").startswith("FLOAT"):
        raise ArtifactError(
            f"the weights {weights} of {node.name} ({node.op}) are float, no quantiser brings them to 1 to 4 bits",
            fix="quantise every layer's weights (QuantLinear, QuantConv2d with weight_quant) and export it again",
        )


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
        fix=_FIX,
        nodes=[node.name for node in nodes],
    )


def _named(nodes: list[Node], graph: Graph) -> Iterator[str]:
    for node in nodes:
        reason = _REASON_OF.get(node.op, "labd knows no layer of FINN's for it")
        if _partly_grouped(graph, node):
            groups, taken, given = groups_of(graph, node)
            reason = (
                f"its {groups} groups share {taken} channels in and {given} out; of grouped convolutions, "
                "FINN has hardware for depthwise ones: as many groups as channels in and out"
            )
        if node.op in UPSAMPLES and isinstance(found := upsampled(graph, node), str):
            reason = found
        if node.op in AVERAGES:
            reason = "of averages, labd builds those of a whole square feature map"
        yield f"{node.name or node.outputs[0]} ({node.op}): {reason}"
