"""QONNX's operators in terms that onnxruntime knows: ONNX functions, and one node that is written out.

Independent of qonnx, so that each can be compared with the other.

Source: qonnx 1.0.0, custom_op/general/{bipolar_quant,intquant,multithreshold,xnorpopcount}.py (binary_quant,
int_quant, resolve_rounding_mode, multithreshold, xnorpopcountmatmul).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from labd_host.exports.onnx_file import QONNX_DOMAIN
from labd_host.exports.operator_sets import standard_version
from labd_host.exports.shapes import ranks
from labd_host.exports.wiring import Wiring, attributes_of
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

ZEROS = "labd_zeros"  # name of an output that counts them
# Texts in ONNX's own syntax; {head} names domain and operator set, so that functions and graph speak one version.
_BIPOLAR_QUANT = """{head}
BipolarQuant (x, scale) => (y) {{
    zero = Constant <value_float: float = 0.0> ()
    above = GreaterOrEqual (x, zero)
    negative = Neg (scale)
    y = Where (above, scale, negative)
}}
"""
_XNOR_POPCOUNT = """{head}
XnorPopcountMatMul (x, weights) => (y) {{
    half = Constant <value_float: float = 0.5> ()
    one = Constant <value_float: float = 1.0> ()
    two = Constant <value_float: float = 2.0> ()
    doubled_x = Mul (x, two)
    signs_x = Sub (doubled_x, one)
    doubled_w = Mul (weights, two)
    signs_w = Sub (doubled_w, one)
    product = MatMul (signs_x, signs_w)
    sizes = Shape (weights)
    first = Constant <value_int: int = 0> ()
    rows = Gather <axis: int = 0> (sizes, first)
    columns = Cast <to: int = 1> (rows)
    more = Add (product, columns)
    y = Mul (more, half)
}}
"""
_QUANT = """{head}
Quant_{mode} <signed, narrow> (x, scale, zero_point, bits) => (y) {{
    half = Constant <value_float: float = 0.5> ()
    one = Constant <value_float: float = 1.0> ()
    two = Constant <value_float: float = 2.0> ()
    signed_i = Constant <value_int: int = @signed> ()
    signed_f = Cast <to: int = 1> (signed_i)
    narrow_i = Constant <value_int: int = @narrow> ()
    narrow_f = Cast <to: int = 1> (narrow_i)
    magnitude_bits = Sub (bits, signed_f)
    levels = Pow (two, magnitude_bits)
    unsigned_f = Sub (one, signed_f)
    unsigned_narrow = Mul (unsigned_f, narrow_f)
    top = Sub (levels, one)
    high = Sub (top, unsigned_narrow)
    depth = Sub (levels, narrow_f)
    below = Mul (depth, signed_f)
    low = Neg (below)
    scaled = Div (x, scale)
    shifted = Add (scaled, zero_point)
    capped = Min (shifted, high)
    clipped = Max (capped, low)
    sign = Sign (clipped)
    size = Abs (clipped)
    {rounding}
    centred = Sub (rounded, zero_point)
    y = Mul (centred, scale)
}}
"""
_AWAY = "{first}\n    whole = {function} ({of})\n    rounded = Mul (sign, whole)"
_ROUNDINGS = {
    "ROUND": "rounded = Round (clipped)",
    "FLOOR": "rounded = Floor (clipped)",
    "CEIL": "rounded = Ceil (clipped)",
    "UP": _AWAY.format(first="", function="Ceil", of="size"),
    "DOWN": _AWAY.format(first="", function="Floor", of="size"),
    "HALF_UP": _AWAY.format(first="more = Add (size, half)", function="Floor", of="more"),
    "HALF_DOWN": _AWAY.format(first="less = Sub (size, half)", function="Ceil", of="less"),
}
_SAME_ROUNDING = {
    "HALF_EVEN": "ROUND",
    "ROUND_TO_ZERO": "DOWN",
}  # HALF_EVEN is ROUND; Brevitas' name for DOWN


def make_runnable(model: onnx.ModelProto) -> None:
    """Define or write out QONNX's operators in *model*, an export in labd's form.

    Raises:
        ArtifactError: it has another operator of QONNX's, or one in a form that QONNX does not know.
    """
    from onnx import parser

    wiring = Wiring(model.graph)
    axes = ranks(model)
    head = f'<domain: "{QONNX_DOMAIN}", opset_import: ["": {standard_version(model)}]>'
    bodies: dict[str, str] = {}
    for node in list(model.graph.node):
        if node.domain != QONNX_DOMAIN:
            continue
        if node.op_type == "Quant":
            mode = _rounding(node)
            node.op_type = f"Quant_{mode}"
            bodies[node.op_type] = _QUANT.format(head=head, mode=mode, rounding=_ROUNDINGS[mode])
        elif node.op_type == "BipolarQuant":
            bodies[node.op_type] = _BIPOLAR_QUANT.format(head=head)
        elif node.op_type == "XnorPopcountMatMul":
            bodies[node.op_type] = _XNOR_POPCOUNT.format(head=head)
        elif node.op_type == "MultiThreshold":
            _write_out(node, model, wiring, axes.get(node.input[0], 0))
        else:
            raise ArtifactError(
                f"{node.name} is a {node.op_type} node, which labd cannot run",
                fix="use Quant, BipolarQuant or MultiThreshold",
            )
    model.functions.extend(parser.parse_function(text) for text in bodies.values())


def count_zeros(model: onnx.ModelProto, quantisers: Collection[str]) -> bool:
    """Give *model* an output that counts the values of exactly 0 which enter *quantisers*; False where none does."""
    from onnx import TensorProto, helper

    wiring, made, counts = Wiring(model.graph), [], []
    computed = [
        node
        for node in model.graph.node
        if node.name in quantisers
        and node.op_type == "BipolarQuant"
        and node.input[0] not in wiring.constants
    ]
    if not computed:
        return False
    zero = wiring.add_constant("exactly_0", np.zeros((), np.float32))
    for node in computed:
        equal, whole, count = (f"{node.name}_{each}_0" for each in ("is", "whole", "count"))
        made += [
            helper.make_node("Equal", [node.input[0], zero], [equal]),
            helper.make_node("Cast", [equal], [whole], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", [whole], [count], keepdims=0),
        ]
        counts.append(count)
    made.append(helper.make_node("Sum", counts, [ZEROS]))
    model.graph.node.extend(made)
    model.graph.output.append(helper.make_tensor_value_info(ZEROS, TensorProto.FLOAT, []))
    return True


def _rounding(node: onnx.NodeProto) -> str:
    """How *node*, a Quant, rounds; it need not say."""
    told = str(attributes_of(node).get("rounding_mode", "ROUND")).upper()
    mode = _SAME_ROUNDING.get(told, told)
    if mode not in _ROUNDINGS:
        raise ArtifactError(
            f"{node.name} (Quant) rounds {told!r}; known: {', '.join((*_ROUNDINGS, *_SAME_ROUNDING))}",
            fix="export it with the rounding mode ROUND",
        )
    return mode


def _write_out(node: onnx.NodeProto, model: onnx.ModelProto, wiring: Wiring, rank: int) -> None:
    """Put nodes in place of *node*, a MultiThreshold: how many thresholds of its channel each value reaches.

    A Scan takes one threshold of every channel after the other, so that no tensor is larger than the map itself.
    """
    from onnx import TensorProto, helper

    thresholds, has = wiring.constant(node.input[1]), attributes_of(node)
    if thresholds is None or thresholds.ndim != 2 or rank < 2:
        raise ArtifactError(
            f"{node.name} (MultiThreshold) has no constant thresholds (channels, steps), or an input of {rank} axes",
            fix="export it with constant thresholds",
        )
    layout = str(has.get("data_layout") or {3: "NWC"}.get(rank, "NC"))
    axis = layout.index("C") if "C" in layout else 1
    spread = [1] * rank
    spread[axis] = len(thresholds)
    steps = np.ascontiguousarray(thresholds.T, np.float32).reshape(-1, *spread)
    name = node.output[0]
    body = helper.make_graph(
        [
            helper.make_node("GreaterOrEqual", [node.input[0], f"{name}_step"], [f"{name}_reached"]),
            helper.make_node("Cast", [f"{name}_reached"], [f"{name}_one"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"{name}_before", f"{name}_one"], [f"{name}_after"]),
        ],
        "one_threshold",
        [
            helper.make_tensor_value_info(f"{name}_{each}", TensorProto.FLOAT, [None] * rank)
            for each in ("before", "step")
        ],
        [helper.make_tensor_value_info(f"{name}_after", TensorProto.FLOAT, [None] * rank)],
    )
    constants = [
        wiring.add_constant(f"{name}_{key}", np.asarray(value, np.float32))
        for key, value in (
            ("steps", steps),
            ("scale", has.get("out_scale", 1.0)),
            ("bias", has.get("out_bias", 0.0)),
        )
    ]
    made = [
        helper.make_node("Shape", [node.input[0]], [f"{name}_shape"]),
        helper.make_node("ConstantOfShape", [f"{name}_shape"], [f"{name}_zeros"]),
        helper.make_node(
            "Scan", [f"{name}_zeros", constants[0]], [f"{name}_count"], body=body, num_scan_inputs=1
        ),
        helper.make_node("Mul", [f"{name}_count", constants[1]], [f"{name}_scaled"]),
        helper.make_node("Add", [f"{name}_scaled", constants[2]], [name]),
    ]
    at = list(model.graph.node).index(node)
    model.graph.node.remove(node)
    for new in reversed(made):
        model.graph.node.insert(at, new)
