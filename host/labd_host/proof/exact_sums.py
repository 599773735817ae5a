"""The sums of a product as exact integers, and what a stage computed for them held against these.

A stage computes in float32, with scales in its operands, biases behind its sums and more products in a
sum than 24 bits hold. So a sum is not read off the stage's value: it is added up again, in integers,
from the operands that the stage itself computed. The stage's own value must then lie as near to it as
float32 arithmetic allows: n products added up in any order are off by at most n roundings of the sum
of their magnitudes. A bias (of a Gemm or a Conv) is not part of the sum that it is added to.
"""

import math
from collections.abc import Iterator

import numpy as np

from labd_host.proof.averaged_maps import AVERAGES
from labd_host.proof.plain_graph import Graph, GraphTrace, Node, Values
from labd_host.proof.value_scales import average_scale, scale_of, spread
from labd_shared.errors import StageFailed, StageMismatch

PRODUCTS = ("MatMul", "Gemm", "Conv", "XnorPopcountMatMul")
NOISE = 0.05  # how far a rescaled value may lie from its integer; a wrong scale is off by far more
_ROUNDING = float(np.finfo(np.float32).eps) / 2
_MORE_ROUNDINGS = 8  # of scales, of operands and of a bias, besides one for each product
_EXACT_FLOAT32 = 1 << 24  # integers up to here are exact in float32


def exact_sums(graph: Graph, trace: GraphTrace, node: Node) -> Values:
    """The sums of *node* as integers in float64, in the shape of its output; a count of bits as a dot product.

    Args:
        graph: Of the stage.
        trace: What the stage computed.
        node: A product, an average of a map, a GlobalAccPool or an MVAU.

    Raises:
        StageFailed: an operand is not a whole number of steps of its scale.
        StageMismatch: what the stage computed cannot be these sums.
    """
    if node.op in AVERAGES or node.kind == "GlobalAccPool":
        return _summed_map(graph, trace, node)
    counts_bits = node.op == "XnorPopcountMatMul" or bool(node.attributes.get("binaryXnorMode"))
    scale = scale_of(graph, node.inputs[0])
    if scale.size > 1 and not _by_channel(node):
        raise StageFailed(
            f"{node.inputs[0]}, the input of {node.name} ({node.op}), has {scale.size} scales: its sums are not "
            "integers on one scale",
            fix="export that activation quantiser with one scale for the tensor",
        )
    operand = _steps(trace.values[node.inputs[0]], spread(scale, trace.values[node.inputs[0]]), node)
    weights, weight_scale = _weights(graph, trace, node)
    if counts_bits:
        operand, weights = 2 * operand - 1, 2 * weights - 1
    reach = float(np.abs(operand).max(initial=0)) * np.abs(weights).reshape(-1, weights.shape[-1]).sum(axis=0)
    kind = np.float32 if reach.max(initial=0) < _EXACT_FLOAT32 else np.float64
    found = trace.sums.get(node.name, trace.values[node.outputs[0]])
    if node.kind == "MVAU":  # which reads a map as vectors, or as one, whatever its shape
        operand = operand.reshape(*found.shape[:-1], len(weights))
    if node.kind == "VVAU":
        operand = _by_pixel(graph, node, operand)
    sums = _product(node, operand.astype(kind, copy=False), weights.astype(kind, copy=False)).astype(
        np.float64
    )
    channel_axis = 1 if node.op == "Conv" else -1
    shape = [1] * sums.ndim
    shape[channel_axis] = -1
    unit = (scale * weight_scale).reshape(-1)
    unit = unit.reshape(shape) if unit.size > 1 else unit
    bias = bias_of(graph, trace, node)
    bias = bias.reshape(shape) if bias.size > 1 else bias
    found = (found.astype(np.float64) - bias) / unit
    if counts_bits:
        found = 2 * found - weights.shape[0]
    terms = math.prod(weights.shape[:-1]) + _MORE_ROUNDINGS
    room = terms * _ROUNDING * (reach.reshape(shape) + 2 * np.abs(bias / unit))
    _check(node, found, sums, room)
    return sums


def _check(node: Node, found: Values, sums: Values, room: Values) -> None:
    wrong = np.abs(found - sums) > room
    if found.shape == sums.shape and not wrong.any():
        return
    if found.shape != sums.shape:
        said = f"are of shape {found.shape}, its operands give {sums.shape}"
    else:
        at = tuple(np.argwhere(wrong)[0])
        said = f"hold {found[at]:.10g} where its operands give {sums[at]:.10g} (image {at[0]})"
    raise StageMismatch(
        f"the sums of {node.name} ({node.op}) {said}",
        fix="report this with the exported network: the stage's own arithmetic contradicts its operands",
        layer=node.name,
        kind="sums",
    )


def _steps(values: Values, scale: Values, node: Node) -> Values:
    """*values* in steps of *scale*: whole numbers."""
    steps = values if scale.size == 1 and scale == 1 else values.astype(np.float64) / scale
    nearest = np.rint(steps)
    away = np.abs(steps - nearest) > NOISE
    if away.any():
        raise StageFailed(
            f"what enters {node.name} ({node.op}) is not quantised: {steps[away][0]:.10g} steps of its scale is "
            "one of its values",
            fix="put a quantiser in front of that layer (QuantIdentity, QuantReLU) and export again",
        )
    return nearest


def _weights(graph: Graph, trace: GraphTrace, node: Node) -> tuple[Values, Values]:
    """The integers of *node*'s weights (..., outputs), and what they were multiplied with."""
    name = node.inputs[1]
    values = graph.constants.get(name, trace.constants.get(name))
    if values is None:
        raise StageFailed(
            f"{node.name} ({node.op}) multiplies two computed tensors, labd builds products with weights",
            fix="leave products of two activations (attention) out of the network",
        )
    scale = scale_of(graph, name)
    if node.kind == "VVAU":  # (channels, 1, height, width)
        values = values.reshape(len(values), -1)
    outputs_first = node.op == "Conv" or node.kind == "VVAU" or node.attributes.get("transB")
    columns = np.moveaxis(values, 0, -1) if outputs_first else values
    if scale.size not in (1, columns.shape[-1]):
        raise StageFailed(
            f"the weights of {node.name} ({node.op}) have {scale.size} scales for {columns.shape[-1]} outputs",
            fix="quantise its weights with one scale for the tensor, or one for each output channel",
        )
    return _steps(columns, scale, node), scale


def bias_of(graph: Graph, trace: GraphTrace, node: Node) -> Values:
    """What *node* adds behind its sums, one value or one for each output."""
    named = node.inputs[2] if node.op in ("Gemm", "Conv") and len(node.inputs) > 2 else ""
    if not named:
        return np.zeros(1)
    value = graph.constants.get(named, trace.constants.get(named))
    if value is None:
        raise StageFailed(
            f"{node.name} ({node.op}) adds {named}, which is computed from the image",
            fix="leave the sum of two branches out: only chains of layers can be built",
        )
    bias: Values = value.astype(np.float64).reshape(-1) * float(node.attributes.get("beta", 1.0))
    return bias


def _product(node: Node, operand: Values, weights: Values) -> Values:
    """Sums of products of whole numbers, exactly; in float32, twice as fast, where that holds all of them."""
    most = np.abs(operand).max(initial=0) * np.abs(weights).reshape(-1, weights.shape[-1]).sum(axis=0).max(
        initial=0
    )
    if most < _EXACT_FLOAT32:
        return _added(node, operand.astype(np.float32), weights.astype(np.float32)).astype(np.float64)
    return _added(node, operand, weights)


def _added(node: Node, operand: Values, weights: Values) -> Values:
    if node.kind == "VVAU":
        depthwise: Values = np.einsum("...kc,kc->...c", operand, weights)
        return depthwise
    if node.op != "Conv":
        product: Values = np.matmul(operand, weights)
        return product
    groups = int(node.attributes.get("group", 1))
    parts = zip(np.split(operand, groups, axis=1), np.split(weights, groups, axis=-1), strict=True)
    return np.concatenate([np.stack(list(_convolved(node, *part))) for part in parts], axis=1)


def _by_pixel(graph: Graph, node: Node, windows: Values) -> Values:
    """Depthwise *windows* (N, height, width, values) as (N, height, width, pixels, channels).

    FINN's window generator puts all pixels of as many channels as the VVAU takes at once behind each other; as it
    is executed, of all channels.
    """
    channels, pixels = node.attributes["Channels"], math.prod(node.attributes["Kernel"])
    before = graph.producer(node.inputs[0])
    whole = before is not None and before.kind in ("Im2Col", "ConvolutionInputGenerator")
    lanes = channels if whole else node.attributes["PE"]
    apart = windows.reshape(*windows.shape[:-1], channels // lanes, pixels, lanes)
    return np.moveaxis(apart, -2, -3).reshape(*windows.shape[:-1], pixels, channels)


def _convolved(node: Node, maps: Values, weights: Values) -> Iterator[Values]:
    """Each of *maps* (N, channels, height, width) convolved with (channels, height, width, outputs)."""
    kernel = weights.shape[1:-1]
    axes = len(kernel)
    strides = node.attributes.get("strides") or [1] * axes
    dilations = node.attributes.get("dilations") or [1] * axes
    reach = [(side - 1) * apart + 1 for side, apart in zip(kernel, dilations, strict=True)]
    pads = _pads(node, maps.shape[2:], reach, strides)
    flat = weights.reshape(-1, weights.shape[-1])
    for each in maps:
        padded = np.pad(each, [(0, 0), *pads])
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(1, axes + 1)))
        steps = [slice(None, None, stride) for stride in strides]
        inside = [slice(None, None, apart) for apart in dilations]
        taken = np.moveaxis(windows[(slice(None), *steps, *inside)], 0, axes)
        found = taken.reshape(*taken.shape[:axes], -1) @ flat
        yield np.moveaxis(found, -1, 0)


def _pads(node: Node, sides: tuple[int, ...], reach: list[int], strides: list[int]) -> list[tuple[int, int]]:
    automatic = node.attributes.get("auto_pad", b"NOTSET")
    mode = automatic.decode() if isinstance(automatic, bytes) else str(automatic)
    if not mode.startswith("SAME"):
        pads = node.attributes.get("pads") or [0] * (2 * len(sides))
        return list(zip(pads[: len(sides)], pads[len(sides) :], strict=True))
    totals = [
        max((math.ceil(side / stride) - 1) * stride + wide - side, 0)
        for side, wide, stride in zip(sides, reach, strides, strict=True)
    ]
    first = [total // 2 if mode == "SAME_UPPER" else math.ceil(total / 2) for total in totals]
    return [(before, total - before) for before, total in zip(first, totals, strict=True)]


def _by_channel(node: Node) -> bool:
    """Whether every sum of *node* is of one channel: a depthwise convolution."""
    return node.op == "Conv" and node.attributes.get("group", 1) > 1


def _summed_map(graph: Graph, trace: GraphTrace, node: Node) -> Values:
    """The sums of a whole feature map."""
    values, out = trace.values[node.inputs[0]], trace.values[node.outputs[0]]
    pool = node.kind == "GlobalAccPool"
    steps = _steps(values, spread(scale_of(graph, node.inputs[0]), values), node)
    sums: Values = steps.astype(np.float64).sum(axis=(1, 2) if pool else (2, 3)).reshape(out.shape)
    unit = np.ones(()) if pool else spread(average_scale(graph, node), out)
    pixels = math.prod(values.shape[1:]) // sums[0].size
    room = (pixels + _MORE_ROUNDINGS) * _ROUNDING * float(np.abs(steps).max(initial=0)) * pixels
    _check(node, out / unit, sums, np.full((), room))
    return sums
