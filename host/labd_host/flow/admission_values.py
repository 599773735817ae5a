"""What enters each layer: is it quantised, in a way that thresholds can give, and may zeros stand around it?

`check_values` names the export's own nodes, the reason and the cure.
"""

from collections.abc import Iterator

import numpy as np

from labd_host.proof.averaged_maps import AVERAGES
from labd_host.proof.plain_graph import Graph, Node, Values
from labd_host.proof.value_scales import UPSAMPLES
from labd_shared.errors import ArtifactError

QUANTISERS = ("Quant", "BipolarQuant", "MultiThreshold")
PRODUCTS = ("MatMul", "Gemm", "Conv", "XnorPopcountMatMul")
MAX_BITS = 8  # FINN makes thresholds of quantisers up to that width
_POOLS = ("MaxPool", "MaxPoolNHWC")
_MOVES = (
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Im2Col", "Pad", *_POOLS, *AVERAGES,
    *UPSAMPLES,
)  # fmt: skip
_SCALES = ("Mul", "Div", "Add", "Sub")
_ROUNDINGS = ("ROUND", "HALF_EVEN")  # two names of the same
_QUANTISE = (
    "quantise every layer's input and weights (QuantIdentity, QuantReLU, weight_quant) and export it again"
)


def check_values(graph: Graph) -> None:
    """Refuse quantisers that FINN has no thresholds for, and operands without a quantiser.

    Args:
        graph: The export, its constants folded, quantised weights not; a chain of operations that have hardware.

    Raises:
        ArtifactError: naming the node.
    """
    computed = set(graph.dependent)
    first = next((node for node in graph.nodes if node.op in QUANTISERS and node.inputs[0] in computed), None)
    for node in graph.nodes:
        if node.op == "Quant":
            _check_quantiser(graph, node, of_values=node.inputs[0] in computed, first=node is first)
        if node.op in PRODUCTS and not computed.isdisjoint(node.inputs[:2]):
            _check_product(graph, node, computed)
        if node.op in _POOLS and node.inputs[0] in computed:
            _check_pool(graph, node)
        if node.op == "Conv" and any(node.attributes.get("pads", ())):
            _check_padding(graph, node)
        if node.op == "Pad" and node.inputs[0] in computed:
            raise ArtifactError(
                f"{node.name} (Pad) pads with more than zeros around the map, or not in front of a convolution",
                fix="leave it out, or give the convolution its padding: QuantConv2d(padding=...)",
            )
        if node.op == "BatchNormalization" and (
            node.attributes.get("training_mode") or len(node.outputs) > 1
        ):
            raise ArtifactError(
                f"{node.name} (BatchNormalization) is exported as for training, with the averages of the batch",
                fix="call model.eval() in front of the export",
            )


def _check_quantiser(graph: Graph, node: Node, *, of_values: bool, first: bool) -> None:
    scale, zero, bits = (_parameter(graph, node, index) for index in (1, 2, 3))
    if (scale <= 0).any() or not np.isfinite(scale).all():
        raise ArtifactError(
            f"{node.name} (Quant) has a scale of {scale.min():g}, a scale above 0 is wanted",
            fix="train it again; a scale that fell to 0 gives nothing but zeros",
        )
    if not np.isfinite(bits).all() or (bits != np.rint(bits)).any() or bits.min() < 1:
        raise ArtifactError(f"{node.name} (Quant) has a width of {bits.min():g} bits", fix="export it again")
    if zero.any():
        shown = zero[zero != 0].reshape(-1)[0]
        raise ArtifactError(
            f"{node.name} (Quant) has the zero point {shown:g}, FINN builds quantisers without one",
            fix="export it with a symmetric quantiser: Int8ActPerTensorFloat, Uint8ActPerTensorFloat",
        )
    if not of_values:
        return
    rounding = str(node.attributes.get("rounding_mode", "ROUND")).upper()
    if rounding not in _ROUNDINGS:
        raise ArtifactError(
            f"{node.name} (Quant) rounds {rounding}, labd builds ROUND",
            fix="export it with float_to_int_impl_type=FloatToIntImplType.ROUND, Brevitas' default",
        )
    width = int(bits.max())
    if width > MAX_BITS and first:
        raise ArtifactError(
            f"{node.name} (Quant) makes {width} bits of the input, which has pixels of 8",
            fix="take a quantiser of 8 bits or fewer for the input and train again",
        )
    if width > MAX_BITS:
        raise ArtifactError(
            f"{node.name} (Quant) has {width} bits, FINN makes thresholds of up to {MAX_BITS}",
            fix="take a quantiser of 8 bits or fewer and train again",
        )


def _parameter(graph: Graph, node: Node, index: int) -> Values:
    value = graph.constants.get(node.inputs[index]) if len(node.inputs) > index else None
    if value is None:
        raise ArtifactError(
            f"{node.name} ({node.op}) computes its {('input', 'scale', 'zero point', 'bit width')[index]}",
            fix="export the network again with constant scales and bit widths",
        )
    return np.asarray(value)


def _check_product(graph: Graph, node: Node, computed: set[str]) -> None:
    if node.inputs[1] in computed:
        other = "two maps" if node.inputs[0] in computed else "weights from the left"
        raise ArtifactError(
            f"{node.name} ({node.op}) multiplies {other}; labd builds products of a map and constant weights",
            fix="take layers of the form x times weights (QuantLinear, QuantConv2d)",
        )
    _check_weights(graph, node)
    for before in _before(graph, node.inputs[0]):
        if before.op in QUANTISERS:
            return
        if before.op not in (*_MOVES, *_SCALES) and not _from_input(graph, before):
            raise ArtifactError(
                f"{node.name} ({node.op}) reads what {before.name} ({before.op}) gives, no quantiser stands between",
                fix=_QUANTISE,
            )


def _check_weights(graph: Graph, node: Node) -> None:
    weights = node.inputs[1]
    maker = graph.producer(weights)
    while maker is not None and maker.op not in QUANTISERS:
        weights = maker.inputs[0]
        maker = graph.producer(weights)
    if maker is None and graph.datatypes.get(weights, "FLOAT32").startswith("FLOAT"):
        raise ArtifactError(
            f"the weights {weights} of {node.name} ({node.op}) are float, no quantiser brings them to 1 to 8 bits",
            fix="quantise every layer's weights (QuantLinear, QuantConv2d with weight_quant) and export it again",
        )


def _before(graph: Graph, tensor: str) -> Iterator[Node]:
    """The nodes that made *tensor*, the last one first, back to the input."""
    node = graph.producer(tensor)
    while node is not None:
        yield node
        dependent = next((name for name in node.inputs if name not in graph.constants), "")
        node = graph.producer(dependent)


def _from_input(graph: Graph, node: Node) -> bool:
    """Is *node* part of a mean and deviation that the input itself is brought to?"""
    linear = ("BatchNormalization", *_MOVES, *_SCALES)
    return all(each.op in linear for each in (node, *_before(graph, node.outputs[0])))


def _quantiser_before(graph: Graph, tensor: str) -> Node | None:
    """The quantiser whose values *tensor* holds; None where there is another operation on the way."""
    for node in _before(graph, tensor):
        if node.op in QUANTISERS:
            return node
        if node.op not in (*_MOVES, *_SCALES):
            return None
    return None


def _is_bipolar(node: Node) -> bool:
    return node.op == "BipolarQuant" or (
        node.op == "MultiThreshold" and "BIPOLAR" in str(node.attributes.get("out_dtype", ""))
    )


def _check_padding(graph: Graph, node: Node) -> None:
    quantiser = _quantiser_before(graph, node.inputs[0])
    if quantiser is not None and _is_bipolar(quantiser):
        raise ArtifactError(
            f"{node.name} ({node.op}) puts zeros around the values -1 and +1 of {quantiser.name} ({quantiser.op}): "
            "0 is not a value of one bit",
            fix=f"leave out the padding of {node.name}, or take activations of 2 bits in front of it, and train again",
        )


def _check_pool(graph: Graph, node: Node) -> None:
    if node.attributes.get("ceil_mode"):
        raise ArtifactError(
            f"{node.name} ({node.op}) has ceil_mode, which adds an incomplete window at the border",
            fix="set ceil_mode=False, or give it a map that its stride divides, and train again",
        )
    quantiser = _quantiser_before(graph, node.inputs[0])
    if quantiser is None and _from_input(graph, node):
        return
    if quantiser is None:
        raise ArtifactError(
            f"{node.name} ({node.op}) takes the maximum of values that are not quantised, and no quantiser follows",
            fix=f"put a quantiser (QuantReLU, QuantIdentity) in front of {node.name} and train again",
        )
    signed = _is_bipolar(quantiser) or bool(quantiser.attributes.get("signed", 0)) or _below_zero(quantiser)
    if any(node.attributes.get("pads", ())) and signed:
        raise ArtifactError(
            f"{node.name} ({node.op}) is padded, and {quantiser.name} ({quantiser.op}) gives values below 0: "
            "FINN pads with zeros, which would be the largest",
            fix=f"leave out the padding of {node.name}, or put a QuantReLU in front of it, and train again",
        )


def _below_zero(quantiser: Node) -> bool:
    return quantiser.op == "MultiThreshold" and float(quantiser.attributes.get("out_bias", 0)) < 0
