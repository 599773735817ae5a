"""What a stage computed, brought to a form in which stages can be compared value by value.

The stages write the same network in different ways: bipolar or binary, scaled or not, thresholds
apart from or inside the layer that sums. Three kinds of values mean the same in all of them:

* *levels*: what a quantiser gives, counted from its lowest level: 0 and 1 for one bit, whether the
  stage calls them -1 and +1 or 0 and 1;
* *sums*: what a matrix product or the average of a map adds up, as an integer (`exact_sums`): the scales
  of its operands divided out, without the bias behind it, and a count of agreeing bits written as the dot
  product it stands for (2 * count - columns). A layer that thresholds its sums itself is run without its
  thresholds;
* *label*: the index of the best class.

Feature maps are compared with the channel last, however the stage keeps them.

The last sums are the logits. The scores, of which the largest wins, are one positive scale and one
offset of the logits: float ones up to streamlining, then a count of agreeing bits. Which scale and
offset is read off the graph's constants, and checked on the values.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import DataflowGraph
from labd_host.dataflow.layers.layer import levels_of
from labd_host.golden.golden_model import GoldenResult
from labd_host.proof.averaged_maps import AVERAGES
from labd_host.proof.exact_sums import NOISE, PRODUCTS, bias_of, exact_sums
from labd_host.proof.plain_graph import Graph, GraphTrace, Node, Values
from labd_host.proof.roundings import line_to, undecided
from labd_host.proof.value_scales import SHAPES_ONLY, average_scale, constant_of, scale_of
from labd_shared.answers import CLASS, SIGN
from labd_shared.errors import StageFailed, StageMismatch

Integers = npt.NDArray[np.int64]

_SUMMING = (*PRODUCTS, *AVERAGES, "GlobalAccPool", "MVAU", "VVAU")
_QUANTISERS = ("BipolarQuant", "Quant", "MultiThreshold")
_CHANNEL_LAST, _CHANNEL_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # what a Transpose can make of a feature map
FLOAT_ROUNDINGS = 32  # roundings of float32 allowed between the last product's value and a score


@dataclass(frozen=True, eq=False)
class ObservedPoint:
    """One tensor of a stage in its comparable form.

    Attributes:
        kind: "levels", "sums" or "label".
        layer: The node it comes from.
        values: (N, values of a frame).
    """

    kind: str
    layer: str
    values: Integers


@dataclass(frozen=True)
class Scores:
    """The scores of a stage: ``score = scale * logit + offset``.

    Attributes:
        tensor: Name of the tensor of scores.
        scale, offset: Read off the graph's constants, in float64.
        scales, offsets: Where each channel has its own: theirs.
    """

    tensor: str
    scale: float
    offset: float
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()

    def record(self) -> dict[str, Any]:
        """The scores as JSON-able data."""
        return {**asdict(self), "scales": list(self.scales), "offsets": list(self.offsets)}

    def steps(self, values: Values) -> Values:
        """The logits, not rounded, of scores (n, ...) whose channel is last."""
        if not self.scales:
            return (values - self.offset) / self.scale
        return ((values.reshape(-1, len(self.scales)) - self.offsets) / self.scales).reshape(values.shape)


@dataclass(frozen=True, eq=False)
class Observation:
    """What a stage computed.

    Attributes:
        points: In the order of the stream.
        scores: None where they are not one scale and one offset of the logits.
        undecided: The images in which float32's rounding of a sum decided on a level (`roundings.undecided`).
        answer: What the network answers with (`labd_host.flow.answer_kind`); only a class and a sign have labels.
    """

    points: tuple[ObservedPoint, ...]
    scores: Scores | None = None
    undecided: tuple[int, ...] = ()
    answer: str = CLASS

    def of_kind(self, kind: str) -> tuple[ObservedPoint, ...]:
        """The points of one kind, in order."""
        return tuple(point for point in self.points if point.kind == kind)


def observe(graph: Graph, trace: GraphTrace, answer: str = CLASS) -> Observation:
    """The points of a stage of a network that answers with *answer*.

    Raises:
        StageFailed: a value that must be an integer is none, or an operation is not understood.
        StageMismatch: the stage's scores are not the function of its logits that its own
            constants say.
    """
    sums: dict[str, Values] = {}
    points = list(_points(graph, trace, sums))
    last = graph.producer(graph.output)
    if answer == SIGN and last is not None and _is_sign(last):
        points[-1] = replace(points[-1], kind="label")
    if answer == CLASS:
        scores = _scores(graph, trace, [point for point in points if point.kind == "sums"])
    else:
        scores = _line(graph)
    if answer in (CLASS, SIGN) and not any(point.kind == "label" for point in points):
        output = trace.values[graph.output].reshape(len(points[0].values), -1)
        best = output.argmax(axis=1)[:, np.newaxis] if answer == CLASS else output > 0
        points.append(ObservedPoint("label", graph.output, best.astype(np.int64)))
    return Observation(tuple(points), scores, undecided(graph, trace, sums), answer)


def _is_sign(node: Node) -> bool:
    """Whether *node* is the threshold that `answer.choose` put behind the one score, or took it in."""
    datatype = node.attributes.get("out_dtype", node.attributes.get("outputDataType"))
    datatype = datatype.decode() if isinstance(datatype, bytes) else datatype
    thresholds = node.op == "MultiThreshold" or node.kind in ("Thresholding", "MVAU", "VVAU")
    return thresholds and datatype == "BINARY"


def observe_golden(network: DataflowGraph, result: GoldenResult, answer: str = CLASS) -> Observation:
    """The points of the golden model's result, which must hold the intermediates."""
    found = result.intermediates or {}
    points = []
    scores = None
    for layer in network.layers:
        output = found[layer.name].astype(np.int64)
        sums = found.get(f"{layer.name}.accumulators", output)
        points += [_point(kind, layer.name, values) for kind, values in layer.points(output, sums)]
        affine = layer.score_scale()
        if affine is not None:
            scores = Scores(layer.name, *affine)
    if answer == SIGN:
        points[-1], scores = replace(points[-1], kind="label"), None  # its threshold took them in
    return Observation(tuple(points), scores, answer=answer)


def _points(graph: Graph, trace: GraphTrace, sums: dict[str, Values]) -> Iterator[ObservedPoint]:
    """The points in the order of the stream; the sums are put into *sums* in the form that they have in the graph."""
    channel_first = _channel_first(graph)

    def point(kind: str, node: Node, values: Values) -> ObservedPoint:
        first = values.ndim == 4 and node.outputs[0] in channel_first
        return _point(kind, node.name, values.transpose(_CHANNEL_LAST) if first else values)

    for node in graph.nodes:
        out = trace.values.get(node.outputs[0])
        if out is None:
            continue  # made of constants: a weight
        if node.op in _QUANTISERS:
            yield point("levels", node, _quantiser_level(graph, node, out))
        elif node.op in _SUMMING or node.kind in _SUMMING:
            sums[node.name] = exact_sums(graph, trace, node)
            yield point("sums", node, sums[node.name])
            if node.kind in ("MVAU", "VVAU") and not node.attributes["noActivation"]:
                level = levels_of(out, node.attributes["outputDataType"], node.attributes["ActVal"])
                yield point("levels", node, level)
        elif node.kind == "Thresholding":
            level = levels_of(out, node.attributes["outputDataType"], node.attributes["ActVal"])
            yield point("levels", node, level)
        elif node.op == "TopK":
            yield point("label", node, trace.values[node.outputs[1]])
        elif node.kind == "LabelSelect":
            yield point("label", node, out)


def _channel_first(graph: Graph) -> set[str]:
    """The tensors whose second axis is the channel: an exported image is, and what is made of it until a
    Transpose turns it. FINN's hardware layers have the channel last."""
    found: set[str] = set()
    hardware = any(node.attributes.get("backend") == "fpgadataflow" for node in graph.consumers(graph.input))
    if len(graph.shapes.get(graph.input, ())) == 4 and not hardware:
        found.add(graph.input)
    for node in graph.nodes:
        turned = tuple(node.attributes.get("perm", ()))
        follows = bool(found.intersection(node.inputs)) and turned != _CHANNEL_LAST
        if follows or node.op == "Conv" or turned == _CHANNEL_FIRST:
            found.update(node.outputs)
    return found


def _point(kind: str, layer: str, values: Values) -> ObservedPoint:
    """*values* as integers; the float32 noise of a scaled value is taken off."""
    flat = values.reshape(len(values), -1)
    nearest = np.rint(flat)
    away = np.abs(flat - nearest) > NOISE
    if away.any():
        raise StageFailed(
            f"{kind} of {layer} are no integers: {flat[away][0]} is one of them",
            fix="quantise every layer, the input included (QuantIdentity in front), and export again",
        )
    return ObservedPoint(kind, layer, nearest.astype(np.int64))


def _quantiser_level(graph: Graph, node: Node, values: Values) -> Values:
    if node.op == "MultiThreshold":
        bias, step = float(node.attributes["out_bias"]), float(node.attributes["out_scale"])
        return (values - bias) / step
    scale = constant_of(graph, node, 1)
    if node.op == "BipolarQuant":
        return (values / scale + 1) / 2
    return values / scale + constant_of(graph, node, 2) - _lowest(graph, node)


def _lowest(graph: Graph, node: Node) -> Values:
    """The lowest level of a quantiser, as it writes it, before its scale."""
    if node.op == "BipolarQuant":
        return np.array(-1.0)
    signed, narrow = node.attributes["signed"], node.attributes["narrow"]
    lowest: Values = -(2.0 ** (constant_of(graph, node, 3) - 1)) + narrow if signed else np.zeros(())
    return lowest


def _counts_bits(node: Node) -> bool:
    return node.op == "XnorPopcountMatMul" or bool(node.attributes.get("binaryXnorMode"))


def _scores(graph: Graph, trace: GraphTrace, sums: list[ObservedPoint]) -> Scores | None:
    """Walk from the last product to the scores, compose the affine, and check it on the values."""
    chooser = next((node for node in graph.nodes if node.op == "TopK" or node.kind == "LabelSelect"), None)
    target = chooser.inputs[0] if chooser is not None else graph.output
    product = next((node for node in graph.nodes if sums and node.name == sums[-1].layer), None)
    walked = None if product is None else _affine(graph, product.outputs[0], target)
    unit = None if product is None else _unit(graph, trace, product)
    if product is None or walked is None or unit is None:
        return None
    factor, offset = walked
    scores = Scores(target, factor * unit[0], factor * unit[1] + offset)
    logits = sums[-1].values
    results = trace.values[product.outputs[0]].astype(np.float64).reshape(len(logits), -1)
    found, exact = trace.values[target].reshape(len(logits), -1), factor * results + offset
    room = (
        FLOAT_ROUNDINGS
        * np.finfo(np.float32).eps
        * (abs(factor) * float(np.abs(results).max()) + abs(offset))
    )
    wrong = np.abs(found - exact) > room
    if scores.scale <= 0 or wrong.any():
        at = tuple(int(index) for index in np.argwhere(wrong)[0]) if wrong.any() else (0, 0)
        raise StageMismatch(
            f"the scores {target} are not {scores.scale:g} * logit {scores.offset:+g}: image {at[0]}, class {at[1]} "
            f"has {found[at]:g} where {exact[at]:g} follows from its logit {logits[at]}",
            fix="the layers behind the last matrix product must be one positive scale and one offset",
            layer=product.name,
        )
    return scores


def _line(graph: Graph) -> Scores | None:
    """The output as a line of its last sums, for each channel where they differ; or of its last levels."""
    last = graph.producer(graph.output)
    if last is not None and last.op in ("Quant", "BipolarQuant"):
        step = scale_of(graph, graph.output)
        if step.size != 1:
            return None
        scale = float(step) * (2 if last.op == "BipolarQuant" else 1)
        return Scores(graph.output, scale, float(_lowest(graph, last) * step))
    found = line_to(graph, graph.output)
    if found is None:
        return None
    slope, offset = np.broadcast_arrays(found[1], found[2])
    if slope.size == 1:
        return Scores(graph.output, float(slope[0]), float(offset[0]))
    return Scores(graph.output, 1.0, 0.0, tuple(slope.tolist()), tuple(offset.tolist()))


def _unit(graph: Graph, trace: GraphTrace, product: Node) -> tuple[float, float] | None:
    """``(scale, offset)`` from *product*'s sums to its output; None where each class has its own."""
    if _counts_bits(product):  # count = (dot product + columns) / 2
        return 0.5, graph.shapes[product.inputs[1]][0] / 2
    if product.op in AVERAGES:
        scale, bias = average_scale(graph, product), np.zeros(1)
    elif product.op in PRODUCTS:
        scale = scale_of(graph, product.inputs[0]) * scale_of(graph, product.inputs[1])
        bias = bias_of(graph, trace, product)
    else:
        return 1.0, 0.0
    if np.unique(scale).size != 1 or np.unique(bias).size != 1:
        return None
    return float(scale.reshape(-1)[0]), float(bias[0])


def _affine(graph: Graph, tensor: str, target: str) -> tuple[float, float] | None:
    """``(factor, offset)`` from *tensor* to *target*, or None where it is no such thing."""
    factor, offset = 1.0, 0.0
    while tensor != target:
        readers = graph.consumers(tensor)
        if len(readers) != 1:
            return None
        node = readers[0]
        if node.op in SHAPES_ONLY:
            tensor = node.outputs[0]
            continue
        if node.op not in ("Mul", "Div", "Add", "Sub"):
            return None
        constant = graph.constants.get(node.inputs[1] if node.inputs[0] == tensor else node.inputs[0])
        if constant is None or np.unique(constant).size != 1:
            return None
        if node.op in ("Div", "Sub") and node.inputs[0] != tensor:
            return None
        value = float(constant.reshape(-1)[0])
        if node.op in ("Add", "Sub"):
            offset += value if node.op == "Add" else -value
        else:
            by = value if node.op == "Mul" else 1.0 / value
            factor, offset = factor * by, offset * by
        tensor = node.outputs[0]
    return factor, offset
