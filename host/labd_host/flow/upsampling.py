"""Nearest upsampling: which Resize repeats each pixel, and all of them written in one way.

Its functions of a model are steps of `labd_host.flow.stages`.

ONNX has several rules for the pixel that a Resize shows. FINN's hardware repeats each pixel a whole number of
times; what shows the same pixels is that layer, whatever its rule is called.

Source: ONNX's Resize (operator sets 10 to 19) and Upsample (7, 9); finn-plus 1.6.1,
transformation/fpgadataflow/convert_to_hw/upsample.py and streamline/absorb.py, which read the scales of a Resize.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.proof.plain_graph import Graph, Node
from labd_host.proof.value_scales import UPSAMPLES

_AXES = 4  # of a feature map: image, channel, row, column
_SAME_BY_RULE = "asymmetric", "floor"  # o // scale for whole scales


def upsampled(graph: Graph, node: Node) -> tuple[int, int] | str:
    """How often *node*, one of UPSAMPLES, repeats each row and each column; else why it is no such thing."""
    shape = graph.shapes.get(node.inputs[0], ())
    if len(shape) != _AXES or min(shape) < 1:
        return "of resized tensors, FINN has hardware for feature maps of 4 axes"
    if _text(node, "mode", "nearest") != "nearest":
        return f"its mode is {_text(node, 'mode', 'nearest')}; FINN has hardware for nearest"
    sizes, scales = _target(graph, node, shape)
    if scales is None:
        return "its scales are computed, FINN's hardware wants constants"
    if sizes[:2] != shape[:2]:
        return "it resizes images or channels; FINN has hardware for rows and columns"
    factors = []
    for before, after, scale in zip(shape[2:], sizes[2:], scales[2:], strict=True):
        shown = None if after % before else _shown(node, before, after, scale)
        if shown is None or not np.array_equal(shown, np.arange(after) // (after // before)):
            return (
                f"it makes {after} pixels of {before} by the rule {' and '.join(_rule(node))}; "
                "FINN's hardware repeats each pixel a whole number of times"
            )
        factors.append(after // before)
    return factors[0], factors[1]


def _target(
    graph: Graph, node: Node, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], list[Fraction] | None]:
    """The sizes after *node* and the scale of each axis; None where they are no constants."""
    axes = [int(axis) % _AXES for axis in node.attributes.get("axes") or range(_AXES)]
    place = 2 if len(node.inputs) > 2 else 1  # behind roi, from operator set 11 on
    given = [graph.constants.get(name) for name in node.inputs[place:]]
    wanted: list[float] | None = None
    if given and given[0] is not None and given[0].size:
        wanted = [float(scale) for scale in given[0].ravel()]
    elif "scales" in node.attributes:
        wanted = [float(scale) for scale in node.attributes["scales"]]
    whole = list(shape)
    scales = [Fraction(1)] * _AXES
    if wanted is not None and len(wanted) == len(axes):
        for axis, scale in zip(axes, wanted, strict=True):
            scales[axis] = Fraction(scale).limit_denominator(1 << 16)
            whole[axis] = int(shape[axis] * scales[axis])
        return tuple(whole), scales
    if len(given) > 1 and given[1] is not None and given[1].size == len(axes):
        for axis, size in zip(axes, given[1].ravel(), strict=True):
            whole[axis] = int(size)
            scales[axis] = Fraction(int(size), shape[axis])
        return tuple(whole), scales
    return shape, None


def _rule(node: Node) -> tuple[str, str]:
    """How *node* maps a coordinate, and how it rounds; operator sets before 11 had one way."""
    if node.op == "Upsample" or len(node.inputs) < 3:
        return _SAME_BY_RULE
    return (
        _text(node, "coordinate_transformation_mode", "half_pixel"),
        _text(node, "nearest_mode", "round_prefer_floor"),
    )


def _shown(node: Node, before: int, after: int, scale: Fraction) -> npt.NDArray[np.int64] | None:
    """The input pixel that each output pixel shows, of a row or column; None by a rule that labd does not know."""
    coordinates, rounding = _rule(node)
    found = []
    for place in range(after):
        centre = (place + Fraction(1, 2)) / scale - Fraction(1, 2)
        at = {
            "half_pixel": centre,
            "half_pixel_symmetric": centre,  # the same where the scale is whole
            "pytorch_half_pixel": centre if after > 1 else Fraction(0),
            "asymmetric": place / scale,
            "align_corners": Fraction(place * (before - 1), after - 1) if after > 1 else Fraction(0),
        }.get(coordinates)
        if at is None:
            return None
        nearest = {
            "floor": at.numerator // at.denominator,
            "ceil": -(-at.numerator // at.denominator),
            "round_prefer_ceil": (2 * at.numerator + at.denominator) // (2 * at.denominator),
            "round_prefer_floor": -((at.denominator - 2 * at.numerator) // (2 * at.denominator)),
        }.get(rounding)
        if nearest is None:
            return None
        found.append(min(max(nearest, 0), before - 1))
    return np.array(found, np.int64)


def _text(node: Node, key: str, default: str) -> str:
    value = node.attributes.get(key, default)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def make_repeats(model: Any) -> Any:
    """Write every upsampling that repeats pixels as a Resize by constant scales; others were refused."""
    from onnx import helper

    for index, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type not in UPSAMPLES:
            continue
        before, after = (model.get_tensor_shape(name) for name in (node.input[0], node.output[0]))
        scales = model.make_new_valueinfo_name()
        model.set_initializer(scales, np.array(after, np.float32) / np.array(before, np.float32))
        coordinates, rounding = _SAME_BY_RULE
        repeat = helper.make_node(
            "Resize",
            [node.input[0], "", scales],
            list(node.output),
            node.name,
            mode="nearest",
            coordinate_transformation_mode=coordinates,
            nearest_mode=rounding,
        )
        model.graph.node.remove(node)
        model.graph.node.insert(index, repeat)
    return model


def move_scales_behind(model: Any) -> Any:
    """Scales and biases in front of a Resize go behind it: what repeats pixels commutes with them.

    FINN moves those of all channels only, and not what its Streamline leaves behind a convolution.
    """
    from qonnx.transformation.infer_datatypes import InferDataTypes

    for node in [each for each in model.graph.node if each.op_type == "Resize"]:
        while (before := model.find_producer(node.input[0])) is not None and before.op_type in ("Mul", "Add"):
            constant = [model.get_initializer(name) is not None for name in before.input]
            if constant not in ([False, True], [True, False]) or model.is_fork_node(before):
                break
            between, result, moved = node.input[0], node.output[0], constant.index(False)
            node.input[0], node.output[0] = before.input[moved], between
            before.input[moved], before.output[0] = between, result
            model.set_tensor_shape(between, model.get_tensor_shape(result))
            model.graph.node.remove(before)
            model.graph.node.insert(list(model.graph.node).index(node) + 1, before)
    return model.transform(InferDataTypes())
