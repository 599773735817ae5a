"""Where a quantiser rounds, in the whole numbers that reach it; and its thresholds moved to where it does.

A quantiser rounds halves to even, a threshold is reached by all that is not below it. With scales that are
powers of two a sum often lies on a half exactly; with others, float32 decides on which side of a threshold it
falls. But what reaches a quantiser is one scale and one offset of an integer: a sum, or a pixel. So every
threshold can stand midway between two integers, on the side on which the export itself puts the one that lies
on it, and nothing that is rounded afterwards moves it past a value again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from labd_host.proof.averaged_maps import AVERAGES
from labd_host.proof.exact_sums import PRODUCTS
from labd_host.proof.plain_graph import Graph, GraphTrace, Node, Values
from labd_host.proof.value_scales import MOVES_VALUES, SHAPES_ONLY, average_scale, constant_of, scale_of
from labd_shared.errors import StageFailed

PIXEL_STEPS = 255  # a float image is pixel / 255
_ON_IT = (
    1e-5  # how near, of its size, an integer lies to a threshold that float32 may put it on either side of
)
_HALF_A_LEVEL = 0.5
_TO_EVEN = ("ROUND", "HALF_EVEN")  # two names of the same


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """One operation with constants, done by the export in float32.

    Attributes:
        op: "Mul", "Add", "Sub", "Div", "Relu" or "BatchNormalization".
        constants: Each of one value, or of one for each channel.
        swapped: The constant is the first operand.
        epsilon: Of a BatchNormalization.
    """

    op: str
    constants: tuple[Values, ...] = ()
    swapped: bool = False
    epsilon: float = 0.0

    def of(self, values: Values, axis: int) -> Values:
        """The result for *values*, whose channels are on *axis*."""
        shape = [1] * values.ndim
        shape[axis] = -1
        parts = [each.reshape(shape).astype(values.dtype) for each in self.constants]
        if self.op == "Relu":
            return np.maximum(values, 0)
        if self.op == "BatchNormalization":
            gain, bias, mean, variance = parts
            factor = gain / np.sqrt(variance + values.dtype.type(self.epsilon))
            found: Values = values * factor + (bias - mean * factor)
            return found
        operation = {"Mul": np.multiply, "Add": np.add, "Sub": np.subtract, "Div": np.divide}[self.op]
        result: Values = operation(*((parts[0], values) if self.swapped else (values, parts[0])))
        return result


@dataclass(frozen=True, eq=False)
class Rounding:
    """A quantiser and what leads to it from integers.

    Attributes:
        quantiser: The Quant or BipolarQuant.
        source: The node whose sums the integers are; None for the image's pixels.
        arithmetic: What is done to them, in order, their scale and a bias first.
        scale: Of the quantiser.
        lowest, highest: Its levels, as it writes them.
    """

    quantiser: Node
    source: Node | None
    arithmetic: tuple[Arithmetic, ...]
    scale: float
    lowest: float
    highest: float

    def line(self) -> tuple[Values, Values]:
        """``(slope, offset)`` of what the quantiser's thresholds are compared with, for each channel or for all.

        A Relu becomes part of the thresholds.
        """
        return _line(self.arithmetic)

    def levels(self, integers: Values, axis: int) -> Values:
        """What the export makes of *integers*, counted from its lowest level."""
        values = integers.astype(np.float32)
        for step in self.arithmetic:
            values = step.of(values, axis)
        if self.quantiser.op == "BipolarQuant":
            return (values >= 0).astype(np.float64)
        steps = values / np.float32(self.scale)
        found: Values = np.rint(np.clip(steps, self.lowest, self.highest)).astype(np.float64) - self.lowest
        return found


def roundings(graph: Graph) -> list[Rounding | None]:
    """For each quantiser of activations, in order, where it rounds; None where that does not follow from integers."""
    dependent = set(graph.dependent)
    return [
        _rounding(graph, node)
        for node in graph.nodes
        if node.op in ("Quant", "BipolarQuant") and node.inputs[0] in dependent
    ]


def line_to(graph: Graph, tensor: str) -> tuple[Node | None, Values, Values] | None:
    """``(source, slope, offset)`` of *tensor* as a line of its source's sums, for each channel or for all.

    None where it is not such a line.
    """
    found = _way_to(graph, tensor)
    if found is None or any(step.op == "Relu" for step in found[1]):
        return None
    return found[0], *_line(found[1])


def _line(arithmetic: tuple[Arithmetic, ...]) -> tuple[Values, Values]:
    """Slope and offset of what *arithmetic* makes of integers, a Relu left out."""
    kept = [each for each in arithmetic if each.op != "Relu"]
    channels = max(each.size for step in kept for each in step.constants)
    at_zero, at_one = np.zeros(channels), np.ones(channels)
    for step in kept:
        at_zero, at_one = step.of(at_zero, 0), step.of(at_one, 0)
    return at_one - at_zero, at_zero


def _rounding(graph: Graph, quantiser: Node) -> Rounding | None:
    found = _way_to(graph, quantiser.inputs[0])
    try:
        levels = _levels(graph, quantiser)
    except (StageFailed, ValueError):
        return None
    return Rounding(quantiser, *found, *levels) if found else None


def _way_to(graph: Graph, tensor: str) -> tuple[Node | None, tuple[Arithmetic, ...]] | None:
    """The node whose sums lead to *tensor*, None for the image, and what is done to them; None if that is not so."""
    steps: list[Arithmetic] = []
    reshaped = False
    try:
        while True:
            node = graph.producer(tensor)
            if node is None:
                steps.append(_pixels(graph, tensor))
                break
            if node.op in (*PRODUCTS, *AVERAGES):
                steps += _of_sums(graph, node)
                break
            if node.op in MOVES_VALUES:
                reshaped |= node.op in SHAPES_ONLY
                tensor = node.inputs[0]
                continue
            step, tensor = _arithmetic(graph, node)
            if step is None or (step.op == "Relu" and steps):  # which no threshold takes in
                return None
            steps.append(step)
    except (StageFailed, ValueError):
        return None
    if reshaped and any(each.size > 1 for step in steps for each in step.constants):
        return None
    return node, tuple(reversed(steps))


def _pixels(graph: Graph, tensor: str) -> Arithmetic:
    if tensor != graph.input:
        raise ValueError(f"{tensor} is not the image")
    plain = graph.datatypes.get(tensor, "FLOAT32") == "FLOAT32"
    return Arithmetic("Div", (np.array([PIXEL_STEPS if plain else 1.0]),))


def _of_sums(graph: Graph, node: Node) -> list[Arithmetic]:
    """Scale and bias of the sums of *node*, the last one first."""
    if node.op in AVERAGES:
        return [Arithmetic("Mul", (average_scale(graph, node).reshape(-1),))]
    scale = scale_of(graph, node.inputs[0]).reshape(-1)
    if scale.size > 1:
        raise ValueError(f"{node.name} reads a tensor with a scale for each channel")
    found = [Arithmetic("Mul", ((scale * scale_of(graph, node.inputs[1])).reshape(-1),))]
    if node.op in ("Gemm", "Conv") and len(node.inputs) > 2 and node.inputs[2]:
        found.insert(0, Arithmetic("Add", (_bias(graph, node).reshape(-1),)))
    return found


def _bias(graph: Graph, node: Node) -> Values:
    """The bias of *node*; of a quantised one, what its quantiser makes of it."""
    factor = float(node.attributes.get("beta", 1.0))
    maker = graph.producer(node.inputs[2])
    if maker is None:
        return graph.constants[node.inputs[2]] * factor
    scale, lowest, highest = _levels(graph, maker)
    return (
        np.rint(np.clip(constant_of(graph, maker, 0) / np.float32(scale), lowest, highest)) * scale * factor
    )


def _arithmetic(graph: Graph, node: Node) -> tuple[Arithmetic | None, str]:
    if node.op == "Relu":
        return Arithmetic("Relu"), node.inputs[0]
    shape = graph.shapes.get(node.outputs[0], ())
    if node.op == "BatchNormalization":
        parts = [constant_of(graph, node, index) for index in (1, 2, 3, 4)]
        return Arithmetic(
            node.op, tuple(parts), epsilon=float(node.attributes.get("epsilon", 1e-5))
        ), node.inputs[0]
    if node.op in ("Mul", "Add", "Sub", "Div"):
        for place in (1, 0):
            value = graph.constants.get(node.inputs[place])
            if value is not None and not (place == 0 and node.op == "Div"):
                return Arithmetic(node.op, (_by_channel(value, shape),), place == 0), node.inputs[1 - place]
    return None, ""


def _by_channel(value: Values, shape: tuple[int, ...]) -> Values:
    """*value* as one value for each channel of a tensor of *shape*, or one for all."""
    if value.size == 1:
        return value.reshape(1)
    behind = len(shape) - 2  # axes behind the channel's
    spread = value.shape[:-behind] if behind else value.shape
    if len(shape) < 2 or value.size != shape[1] or math.prod(spread) != value.size:
        raise ValueError(f"a constant of shape {value.shape} for a tensor of shape {shape}")
    return value.reshape(-1)


def _levels(graph: Graph, quantiser: Node) -> tuple[float, float, float]:
    """Scale, lowest and highest level of a quantiser that has one of each."""
    scale = constant_of(graph, quantiser, 1)
    if scale.size != 1:
        raise ValueError(f"{quantiser.name} has {scale.size} scales")
    step = float(scale.reshape(()))
    if quantiser.op == "BipolarQuant":
        return step, 0.0, 1.0
    zero, bits = (float(constant_of(graph, quantiser, index).reshape(())) for index in (2, 3))
    signed, narrow = quantiser.attributes["signed"], quantiser.attributes["narrow"]
    rounding = quantiser.attributes.get("rounding_mode", b"ROUND")
    if zero or (rounding.decode() if isinstance(rounding, bytes) else rounding) not in _TO_EVEN:
        raise ValueError(f"{quantiser.name} has a zero point or rounds in another way")
    lowest = -(2.0 ** (bits - 1)) + narrow if signed else 0.0
    highest = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
    return step, lowest, highest


def undecided(graph: Graph, trace: GraphTrace, sums: Mapping[str, Values]) -> tuple[int, ...]:
    """The images in which float32's rounding of a sum made another level than the sum itself would have.

    Which way it goes is an accident of the order in which products are added up.

    Args:
        graph, trace: A stage, and what it computed.
        sums: Node -> its sums, as of `exact_sums.exact_sums`.
    """
    found: set[int] = set()
    for rounding in roundings(graph):
        if rounding is None:
            continue
        given = trace.values[rounding.quantiser.outputs[0]]
        if rounding.source is None:
            integers = np.rint(trace.values[graph.input] * (_pixels(graph, graph.input).constants[0]))
        else:
            integers = sums[rounding.source.name]
        if integers[0].size != given[0].size:  # a pool stands between
            continue
        levels = given / rounding.scale - rounding.lowest
        if rounding.quantiser.op == "BipolarQuant":
            levels = (given > 0).astype(np.float64)
        wrong = np.abs(rounding.levels(integers, 1).reshape(levels.shape) - levels) > _HALF_A_LEVEL
        found.update(np.flatnonzero(wrong.reshape(len(given), -1).any(axis=1)).tolist())
    return tuple(sorted(found))


def doubtful(graph: Graph, trace: GraphTrace) -> set[int]:
    """The images with a value so near to where a quantiser rounds that another order of additions may decide."""
    found: set[int] = set()
    dependent = set(graph.dependent)
    for node in graph.nodes:
        if node.op not in ("Quant", "BipolarQuant") or node.inputs[0] not in dependent:
            continue
        steps = trace.values[node.inputs[0]].astype(np.float64) / constant_of(graph, node, 1)
        edge = np.zeros_like(steps) if node.op == "BipolarQuant" else np.floor(steps) + _HALF_A_LEVEL
        near = np.abs(steps - edge) <= _ON_IT * np.maximum(np.abs(steps), 1)
        found.update(np.flatnonzero(near.reshape(len(near), -1).any(axis=1)).tolist())
    return found


def settled(rounding: Rounding, thresholds: Values) -> Values | None:
    """*thresholds* (1 or channels, steps) moved midway between integers; None where they are not this quantiser's."""
    slope, offset = (each[:, np.newaxis] for each in rounding.line())
    if thresholds.shape[1] != rounding.highest - rounding.lowest or (
        len(thresholds) > 1 and len(slope) > 1 and len(thresholds) != len(slope)
    ):
        return None
    alive = slope != 0
    rising = np.where(slope < 0, -1.0, 1.0)
    # Of rising * integer, the level is reached from the first that is not below `where`.
    where = rising * (thresholds - offset) / np.where(alive, slope, 1.0)
    nearest = np.rint(where)
    first = np.ceil(where)
    on_it = np.abs(where - nearest) <= _ON_IT * np.maximum(np.abs(where), 1)
    level = np.arange(1, where.shape[1] + 1)
    integers = rising * nearest
    reached = rounding.levels(integers, 0) >= level
    first = np.where(on_it, np.where(reached, nearest, nearest + 1), first)
    moved: Values = np.where(alive, slope * rising * (first - 0.5) + offset, thresholds)
    far = np.abs(moved - thresholds) > 2 * np.abs(slope) * np.where(alive, 1, 0)
    return None if far.any() else moved
