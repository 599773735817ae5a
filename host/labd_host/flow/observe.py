"""What a stage computed, brought to a form in which stages can be compared value by value.

The stages write the same network in different ways: bipolar or binary, scaled or not, thresholds
apart from or inside the layer that sums. Three kinds of values mean the same in all of them:

* *levels*: what a quantiser gives, counted from its lowest level: 0 and 1 for one bit, whether the
  stage calls them -1 and +1 or 0 and 1;
* *sums*: what a matrix product or the average of a map adds up, as an integer: the scales of its
  operands divided out, and a count of agreeing bits written as the dot product it stands for
  (2 * count - columns). A layer that thresholds its sums itself is run without its thresholds;
* *label*: the index of the best class.

Feature maps are compared with the channel last, however the stage keeps them.

The last sums are the logits. The scores, of which the largest wins, are one positive scale and one
offset of the logits: float ones up to streamlining, then a count of agreeing bits. Which scale and
offset is read off the graph's constants, and checked on the values.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import DataflowGraph
from labd_host.dataflow.layers.layer import levels_of
from labd_host.flow.averages import AVERAGES, averaged_pixels
from labd_host.flow.plain_graph import Graph, GraphTrace, Node, Values
from labd_host.flow.upsampling import UPSAMPLES
from labd_host.golden.golden_model import GoldenResult
from labd_shared.errors import StageFailed, StageMismatch

Integers = npt.NDArray[np.int64]

_QUANTISERS = ("BipolarQuant", "Quant", "MultiThreshold")
_PRODUCTS = ("MatMul", "Gemm", "Conv", "XnorPopcountMatMul")
_SHAPES_ONLY = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
_MOVES_VALUES = (*_SHAPES_ONLY, *UPSAMPLES, "Transpose", "MaxPool", "MaxPoolNHWC", "Im2Col", "Pad")
_CHANNEL_LAST, _CHANNEL_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # what a Transpose can make of a feature map
FLOAT_ROUNDINGS = 32  # roundings of float32 allowed between a score and its exact value
NOISE = 0.05  # how far a rescaled value may lie from its integer; a wrong scale is off by far more


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
    """

    tensor: str
    scale: float
    offset: float


@dataclass(frozen=True, eq=False)
class Observation:
    """A stage's points in the order of the stream, and its scores; None where they are no such function."""

    points: tuple[ObservedPoint, ...]
    scores: Scores | None = None

    def of_kind(self, kind: str) -> tuple[ObservedPoint, ...]:
        """The points of one kind, in order."""
        return tuple(point for point in self.points if point.kind == kind)


def observe(graph: Graph, trace: GraphTrace) -> Observation:
    """The points of a stage.

    Raises:
        StageFailed: a value that must be an integer is none, or an operation is not understood.
        StageMismatch: the stage's scores are not the function of its logits that its own
            constants say.
    """
    points = list(_points(graph, trace))
    scores = _scores(graph, trace, [point for point in points if point.kind == "sums"])
    if not any(point.kind == "label" for point in points):
        output = trace.values[graph.output]
        best = output.reshape(len(output), -1).argmax(axis=1)[:, np.newaxis]
        points.append(ObservedPoint("label", graph.output, best.astype(np.int64)))
    return Observation(tuple(points), scores)


def observe_golden(network: DataflowGraph, result: GoldenResult) -> Observation:
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
    return Observation(tuple(points), scores)


def _points(graph: Graph, trace: GraphTrace) -> Iterator[ObservedPoint]:
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
        elif node.op in _PRODUCTS:
            yield point("sums", node, _columns(graph, node, out / _product_scale(graph, node)))
        elif node.op in AVERAGES:
            yield point("sums", node, out / _spread(_average_scale(graph, node), out))
        elif node.kind == "GlobalAccPool":
            yield point("sums", node, out)
        elif node.kind in ("MVAU", "VVAU"):
            yield point("sums", node, _columns(graph, node, trace.sums[node.name]))
            if not node.attributes["noActivation"]:
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
    hardware = any("numInputVectors" in node.attributes for node in graph.consumers(graph.input))
    if len(graph.shapes.get(graph.input, ())) == 4 and not hardware:
        found.add(graph.input)
    for node in graph.nodes:
        turned = tuple(node.attributes.get("perm", ()))
        follows = bool(found.intersection(node.inputs)) and turned != _CHANNEL_LAST
        if follows or node.op == "Conv" or turned == _CHANNEL_FIRST:
            found.update(node.outputs)
    return found


def _point(kind: str, layer: str, values: Values) -> ObservedPoint:
    """*values* as integers; the float32 noise of a long sum of scaled values is taken off."""
    flat = values.reshape(len(values), -1)
    nearest = np.rint(flat)
    away = np.abs(flat - nearest) > NOISE
    if away.any():
        raise StageFailed(
            f"{kind} of {layer} are no integers: {flat[away][0]} is one of them",
            fix="labd's proof follows quantised networks only; is every layer quantised, input included?",
        )
    return ObservedPoint(kind, layer, nearest.astype(np.int64))


def _quantiser_level(graph: Graph, node: Node, values: Values) -> Values:
    if node.op == "MultiThreshold":
        bias, step = float(node.attributes["out_bias"]), float(node.attributes["out_scale"])
        return (values - bias) / step
    scale = _constant(graph, node, 1)
    if node.op == "BipolarQuant":
        return (values / scale + 1) / 2
    zero_point, bits = _constant(graph, node, 2), _constant(graph, node, 3)
    signed, narrow = node.attributes["signed"], node.attributes["narrow"]
    lowest = -(2.0 ** (bits - 1)) + narrow if signed else 0.0
    return values / scale + zero_point - lowest


def _columns(graph: Graph, node: Node, sums: Values) -> Values:
    """*sums* as dot products: a count of agreeing bits c among n stands for c - (n - c)."""
    return 2 * sums - graph.shapes[node.inputs[1]][0] if _counts_bits(node) else sums


def _counts_bits(node: Node) -> bool:
    return node.op == "XnorPopcountMatMul" or bool(node.attributes.get("binaryXnorMode"))


def _product_scale(graph: Graph, node: Node) -> Values:
    """What the sums of *node*'s integers were multiplied with, in the shape of its output."""
    inputs, weights = _scale(graph, node.inputs[0]), _scale(graph, node.inputs[1])
    if node.op == "Conv" and weights.size > 1:
        weights = weights.reshape(-1, 1, 1)  # a scale for each output channel
    return inputs * weights


def _average_scale(graph: Graph, node: Node) -> Values:
    """What the sums of *node*'s integers over the map were multiplied with."""
    return _scale(graph, node.inputs[0]) / averaged_pixels(graph, node)


def _spread(scale: Values, values: Values) -> Values:
    """A scale for each channel in the shape of feature maps (N, channels, height, width)."""
    return scale.reshape(-1, 1, 1) if scale.size > 1 and values.ndim == 4 else scale


def _scale(graph: Graph, tensor: str) -> Values:
    """What the integers of *tensor* were multiplied with on their way from a quantiser or a constant."""
    node = graph.producer(tensor)
    if node is None or node.op == "MultiThreshold":
        return np.ones(())
    if node.op in ("BipolarQuant", "Quant"):
        return _flat(_constant(graph, node, 1))
    if node.op in AVERAGES:
        return _average_scale(graph, node)
    if node.op in _MOVES_VALUES or node.kind == "GlobalAccPool":
        return _scale(graph, node.inputs[0])
    if node.op in ("Mul", "Add"):
        constant, other = _constant_operand(graph, node)
        if constant is not None:  # an offset is a whole number of steps, or the sums will be no integers
            return _scale(graph, other) * (_flat(constant) if node.op == "Mul" else 1.0)
    raise StageFailed(
        f"the operand {tensor} of a matrix product comes from {node.name} ({node.op}), no quantiser",
        fix="labd's proof follows quantised networks only; is every layer quantised, input included?",
    )


def _flat(scale: Values) -> Values:
    """A scale for each column, or one for all."""
    return scale.reshape(-1) if scale.size > 1 else scale.reshape(())


def _constant(graph: Graph, node: Node, index: int) -> Values:
    value = graph.constants.get(node.inputs[index])
    if value is None:
        raise StageFailed(
            f"{node.name} ({node.op}) computes its parameter {node.inputs[index]}",
            fix="export the network again with constant scales and bit widths",
        )
    return value


def _constant_operand(graph: Graph, node: Node) -> tuple[Values | None, str]:
    """The constant operand of a two-operand node, and the name of the other."""
    for index in (1, 0):
        if node.inputs[index] in graph.constants:
            return graph.constants[node.inputs[index]], node.inputs[1 - index]
    return None, node.inputs[0]


def _scores(graph: Graph, trace: GraphTrace, sums: list[ObservedPoint]) -> Scores | None:
    """Walk from the last product to the scores, compose the affine, and check it on the values."""
    chooser = next((node for node in graph.nodes if node.op == "TopK" or node.kind == "LabelSelect"), None)
    target = chooser.inputs[0] if chooser is not None else graph.output
    product = next((node for node in graph.nodes if sums and node.name == sums[-1].layer), None)
    walked = None if product is None else _affine(graph, product, target)
    if product is None or walked is None:
        return None
    scale, offset = walked
    logits, found = sums[-1].values, trace.values[target].reshape(len(sums[-1].values), -1)
    exact = scale * logits + offset
    room = (
        FLOAT_ROUNDINGS * np.finfo(np.float32).eps * (abs(scale) * float(np.abs(logits).max()) + abs(offset))
    )
    wrong = np.abs(found - exact) > room
    if scale <= 0 or wrong.any():
        at = tuple(int(index) for index in np.argwhere(wrong)[0]) if wrong.any() else (0, 0)
        raise StageMismatch(
            f"the scores {target} are not {scale:g} * logit {offset:+g}: image {at[0]}, class {at[1]} has "
            f"{found[at]:g} where {exact[at]:g} follows from its logit {logits[at]}",
            fix="the layers behind the last matrix product must be one positive scale and one offset",
            layer=product.name,
        )
    return Scores(target, scale, offset)


def _affine(graph: Graph, product: Node, target: str) -> tuple[float, float] | None:
    """``(scale, offset)`` from *product*'s sums to *target*, or None where it is no such thing."""
    if product.op in ("MatMul", "Gemm", *AVERAGES):
        averages = product.op in AVERAGES
        per_column = _average_scale(graph, product) if averages else _product_scale(graph, product)
        if per_column.size != 1:
            return None
        scale, offset = float(per_column), 0.0
    elif _counts_bits(product):
        scale, offset = 0.5, graph.shapes[product.inputs[1]][0] / 2  # count = (dot product + columns) / 2
    else:
        scale, offset = 1.0, 0.0
    tensor = product.outputs[0]
    while tensor != target:
        readers = graph.consumers(tensor)
        if len(readers) != 1:
            return None
        node = readers[0]
        if node.op in _SHAPES_ONLY:
            tensor = node.outputs[0]
            continue
        if node.op not in ("Mul", "Div", "Add", "Sub"):
            return None
        constant = graph.constants.get(node.inputs[1] if node.inputs[0] == tensor else node.inputs[0])
        if constant is None or constant.size != 1 or (node.op in ("Div", "Sub") and node.inputs[0] != tensor):
            return None
        value = float(constant.reshape(()))
        if node.op in ("Add", "Sub"):
            offset += value if node.op == "Add" else -value
        else:
            factor = value if node.op == "Mul" else 1.0 / value
            scale, offset = scale * factor, offset * factor
        tensor = node.outputs[0]
    return scale, offset
