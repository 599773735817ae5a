"""Shapes of an export: a batch of one, every tensor's shape known, shape arithmetic folded, attributes written in.

Every function changes the model and yields a line for each change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from labd_host.exports.onnx_file import AGAIN, QONNX_DOMAIN
from labd_host.exports.operator_sets import standard_version
from labd_host.exports.wiring import Wiring, attributes_of, named, remove_attribute, set_attribute, shape_of
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
_KEEPING = (
    "BipolarQuant",
    "FloatQuant",
    "MultiThreshold",
    "Quant",
    "Trunc",
)  # the shape of their first input
_FOLDED = (
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Floor", "Gather", "Max", "Min", "Mul", "Neg",
    "ReduceProd", "Reshape", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze", "Where",
)  # fmt: skip
_LEAST_AXES = 2  # batch and values
MAX_INPUT_VALUES = 1 << 26  # of one image
_FEW = 64  # values of a tensor that is taken for shape arithmetic
_SIZES = 3  # which input of a Resize they are, behind the scales
_WINDOWS = ("Conv", "MaxPool", "AveragePool")


def fix_batch(model: onnx.ModelProto) -> Iterator[str]:
    """Make a free batch axis of the input one image; forget the shapes that the file declares.

    Raises:
        ArtifactError: the size of the image is not known, or beyond any picture's.
    """
    entry = model.graph.input[0]
    axes = entry.type.tensor_type.shape.dim
    free = [not (axis.HasField("dim_value") and axis.dim_value > 0) for axis in axes]
    values = math.prod(axis.dim_value for axis in axes[1:])
    if len(axes) < _LEAST_AXES or any(free[1:]) or values > MAX_INPUT_VALUES:
        said = ", ".join(
            (axis.dim_param or "any") if is_free else str(axis.dim_value)
            for axis, is_free in zip(axes, free, strict=True)
        )
        raise ArtifactError(
            f"the input {entry.name} has the shape ({said}), one image of a fixed size is wanted",
            fix="export it for a batch of one: (1, channels, height, width)",
        )
    if free[0]:
        called = f"{axes[0].dim_param} " if axes[0].dim_param else ""
        axes[0].dim_value = 1
        yield f"the free batch axis {called}of the input {entry.name}: set to 1"
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def infer_shapes(model: onnx.ModelProto) -> None:
    """Write the shape of every tensor into the model, as far as ONNX and QONNX's operators tell it."""
    from onnx import shape_inference

    told = shape_inference.infer_shapes(_with_bodies(model))
    del model.graph.value_info[:]
    model.graph.value_info.extend(told.graph.value_info)
    for output, found in zip(model.graph.output, told.graph.output, strict=True):
        output.CopyFrom(found)


def check_nodes(model: onnx.ModelProto) -> Iterator[str]:
    """Write all shapes into the model; refuse nodes of other inputs, attributes, sizes or types than ONNX allows.

    Raises:
        ArtifactError: in ONNX's own words.
    """
    from onnx import checker, shape_inference

    whole = _with_bodies(model)
    for output in whole.graph.output:
        output.type.tensor_type.shape.SetInParent()  # an operator that nobody knows: refused elsewhere, by name
    try:
        checker.check_model(whole)
        for output in whole.graph.output:
            output.type.tensor_type.ClearField("shape")
        shape_inference.infer_shapes(whole, check_type=True, strict_mode=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        told = " ".join(str(error).split())
        raise ArtifactError(f"ONNX does not allow this network: {told}", fix=AGAIN) from error
    infer_shapes(model)
    makers = Wiring(model.graph).makers
    for entry in (*model.graph.value_info, *model.graph.output):
        sizes = [axis.dim_value for axis in entry.type.tensor_type.shape.dim if axis.HasField("dim_value")]
        if min(sizes, default=1) < 1:
            node = makers[entry.name]
            raise ArtifactError(
                f"{node.name} ({node.op_type}) makes a tensor of the sizes {sizes}, none may be below 1",
                fix=AGAIN,
            )
    known = known_shapes(model)
    for node in model.graph.node:
        before, after = known.get(node.input[0] if node.input else ""), known.get(node.output[0])
        if node.op_type == "Reshape" and before and after and math.prod(before) != math.prod(after):
            raise ArtifactError(
                f"{node.name} (Reshape) makes {list(after)} of {list(before)}: these are not as many values",
                fix=AGAIN,
            )
    yield from ()


def _with_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of *model* with functions that tell the shapes of QONNX's operators, not their values."""
    from onnx import parser

    version = standard_version(model)
    told = type(model)()
    told.CopyFrom(model)
    del told.graph.value_info[:]
    inputs: dict[str, int] = {}
    for node in model.graph.node:
        if node.domain == QONNX_DOMAIN and node.op_type in (*_KEEPING, "XnorPopcountMatMul"):
            inputs[node.op_type] = max(inputs.get(node.op_type, 0), len(node.input))
    for name, count in inputs.items():
        names = ", ".join(f"x{index}" for index in range(count))
        body = "MatMul (x0, x1)" if name == "XnorPopcountMatMul" else "Identity (x0)"
        head = f'<domain: "{QONNX_DOMAIN}", opset_import: ["": {version}]>'
        told.functions.append(parser.parse_function(f"{head}\n{name} ({names}) => (y) {{ y = {body} }}"))
    return told


def known_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Tensor -> shape, of those whose shape is known completely."""
    graph = model.graph
    found: dict[str, Shape] = {entry.name: tuple(entry.dims) for entry in graph.initializer}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        shape = shape_of(entry)
        if shape is not None:
            found[entry.name] = shape
    return found


def ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor -> how many axes it has, of those of which that is known; their sizes may be open."""
    graph = model.graph
    return {
        entry.name: len(entry.type.tensor_type.shape.dim)
        for entry in (*graph.input, *graph.value_info, *graph.output)
        if entry.type.tensor_type.HasField("shape")
    }


def fold_shapes(model: onnx.ModelProto) -> Iterator[str]:
    """Compute what follows from shapes that are known: the arithmetic of x.view(x.size(0), -1)."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    folded: list[str] = []
    derived: set[str] = set()  # what came of shapes: such arithmetic may go by way of floats
    while True:
        infer_shapes(model)
        shapes = known_shapes(model)
        wiring = Wiring(model.graph)
        few = [name for name in wiring.constants if _few(shapes[name])]
        values = {name: numpy_helper.to_array(wiring.constants[name]) for name in few}
        before = len(folded)
        for node in list(model.graph.node):
            if node.domain or node.op_type not in _FOLDED or len(node.output) != 1:
                continue
            if node.op_type in ("Shape", "Size"):
                shape = shapes.get(node.input[0])
                feed = {} if shape is None else {node.input[0]: np.broadcast_to(np.float32(0), shape)}
            else:
                feed = {name: values[name] for name in node.input if name in values}
            if len(feed) < len({name for name in node.input if name}) or not (
                _whole(node, feed) or derived.intersection(feed)
            ):
                continue
            if node.op_type == "ConstantOfShape" and feed[node.input[0]].prod() > _FEW:
                continue
            result = np.asarray(ReferenceEvaluator(_alone(node, standard_version(model))).run(None, feed)[0])
            if result.size > _FEW or node.output[0] in wiring.outputs:
                continue
            wiring.graph.node.remove(node)
            wiring.makers.pop(node.output[0])
            wiring.add_constant(node.output[0], result)
            derived.add(node.output[0])
            values[node.output[0]] = result
            folded.append(node.name)
        if len(folded) == before:
            break
    if folded:
        yield f"arithmetic of shapes: folded ({named(folded)})"
    _fix_targets(model)


def _whole(node: onnx.NodeProto, feed: dict[str, Any]) -> bool:
    """Is it arithmetic of whole numbers? What is float, or a weight, is not of shapes."""
    return node.op_type in ("Shape", "Size") or all(value.dtype.kind in "iub" for value in feed.values())


def _alone(node: onnx.NodeProto, version: int) -> onnx.ModelProto:
    """A model of *node* only."""
    from onnx import TensorProto, helper

    ends = [
        [
            helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
            for name in dict.fromkeys(names)
            if name
        ]
        for names in (node.input, node.output)
    ]
    graph = helper.make_graph([node], "one", *ends)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])


def _fix_targets(model: onnx.ModelProto) -> None:
    """Write what a Reshape with -1 or 0 in its target comes to, where it is no longer open."""
    shapes, wiring = known_shapes(model), Wiring(model.graph)
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.domain or len(node.input) < 2:
            continue
        target, result = wiring.constant(node.input[1]), shapes.get(node.output[0])
        if target is not None and result is not None and (target[1:] < 1).any() and 0 not in result:
            node.input[1] = wiring.add_constant(f"{node.name}_shape", np.array(result, np.int64))
            remove_attribute(node, "allowzero")


def _few(shape: Shape) -> bool:
    return int(np.prod(shape, dtype=np.float64)) <= _FEW


def write_scales(model: onnx.ModelProto) -> Iterator[str]:
    """Tell a Resize scales where it is told sizes, which hold for a batch of one only."""
    shapes, wiring = known_shapes(model), Wiring(model.graph)
    written = []
    for node in model.graph.node:
        if node.op_type != "Resize" or node.domain or len(node.input) <= _SIZES:
            continue
        sizes, shape = wiring.constant(node.input[_SIZES]), shapes.get(node.input[0], ())
        if sizes is None or len(sizes) != len(shape) or min(shape) < 1 or (sizes % shape).any():
            continue
        if attributes_of(node).keys() & {"axes", "keep_aspect_ratio_policy"}:
            continue
        scales = sizes.astype(np.float32) / np.array(shape, np.float32)
        del node.input[_SIZES - 1 :]
        node.input.append(wiring.add_constant(f"{node.name}_scales", scales))
        written.append(node.name)
    if written:
        yield f"Resize to sizes: written as scales ({named(written)})"


def write_attributes(model: onnx.ModelProto) -> Iterator[str]:
    """Write in what ONNX lets a convolution or pool leave out, automatic padding as numbers, needless ceil_mode off."""
    shapes = known_shapes(model)
    written: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type not in _WINDOWS or node.domain:
            continue
        has = attributes_of(node)
        kernel = has.get("kernel_shape") or list(
            shapes.get(node.input[1], ())[2:] if len(node.input) > 1 else ()
        )
        if not kernel:
            raise ArtifactError(f"{node.name} ({node.op_type}) has no kernel_shape", fix=AGAIN)
        sides = len(kernel)
        defaults: dict[str, Any] = {
            "kernel_shape": kernel, "strides": [1] * sides, "dilations": [1] * sides, "pads": [0] * 2 * sides,
        }  # fmt: skip
        if node.op_type == "Conv":
            defaults["group"] = 1
        if node.op_type == "AveragePool":
            del defaults["dilations"]
        left_out = [key for key in defaults if key not in has]
        for key in left_out:
            set_attribute(node, key, defaults[key])
        padding = has.get("auto_pad", "NOTSET")
        if padding not in ("NOTSET", ""):
            _pad_as_told(node, padding, shapes.get(node.input[0], ()))
            yield f"{node.name} ({node.op_type}): auto_pad {padding} written as pads {attributes_of(node)['pads']}"
            left_out = [key for key in left_out if key != "pads"]
        if left_out:
            written.setdefault(", ".join(left_out), []).append(node.name)
        if has.get("ceil_mode") and _floors(node, shapes.get(node.input[0], ())):
            set_attribute(node, "ceil_mode", 0)
            yield f"{node.name} ({node.op_type}): ceil_mode has no effect on this size, left out"
    for keys, names in written.items():
        yield f"{keys}: ONNX's defaults written in ({named(names)})"


def _pad_as_told(node: onnx.NodeProto, padding: str, shape: Shape) -> None:
    """Replace auto_pad by the pads that it stands for."""
    has = attributes_of(node)
    kernel, strides = has["kernel_shape"], has["strides"]
    dilations = has.get("dilations", [1] * len(kernel))
    if padding != "VALID":
        if len(shape) != len(kernel) + 2:
            raise ArtifactError(
                f"{node.name} ({node.op_type}) has auto_pad {padding} and an input of unknown size", fix=AGAIN
            )
        wanted = [
            max((-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
            for side, size, stride, dilation in zip(shape[2:], kernel, strides, dilations, strict=True)
        ]
        less, more = [each // 2 for each in wanted], [each - each // 2 for each in wanted]
        set_attribute(node, "pads", less + more if padding == "SAME_UPPER" else more + less)
    remove_attribute(node, "auto_pad")


def _floors(node: onnx.NodeProto, shape: Shape) -> bool:
    """Does the last window of *node* end where its map does, so that rounding up and down are the same?"""
    has = attributes_of(node)
    kernel, sides = has["kernel_shape"], len(has["kernel_shape"])
    dilations = has.get("dilations", [1] * sides)
    if len(shape) != sides + 2:
        return False
    return all(
        (side + has["pads"][axis] + has["pads"][axis + sides] - (size - 1) * dilation - 1) % stride == 0
        for axis, (side, size, stride, dilation) in enumerate(
            zip(shape[2:], kernel, has["strides"], dilations, strict=True)
        )
    )


def move_padding(model: onnx.ModelProto) -> Iterator[str]:
    """A Pad of zeros around the map becomes the pads of the convolution behind it."""
    wiring = Wiring(model.graph)
    for node in [node for node in model.graph.node if node.op_type == "Pad" and not node.domain]:
        reader = wiring.follows(node.output[0])
        pads = wiring.constant(node.input[1]) if len(node.input) > 1 else None
        value = wiring.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(())
        plain = attributes_of(node).get("mode", "constant") == "constant" and len(node.input) < 4
        if reader is None or reader.op_type != "Conv" or reader.input[0] != node.output[0] or not plain:
            continue
        if (
            pads is None
            or pads.shape != (8,)
            or value is None
            or value.any()
            or (pads < 0).any()
            or pads[[0, 1, 4, 5]].any()
        ):
            continue
        has = attributes_of(reader)
        moved = [int(each) + own for each, own in zip(pads[[2, 3, 6, 7]], has["pads"], strict=True)]
        if wiring.bypass(node):
            set_attribute(reader, "pads", moved)
            yield f"{node.name} (Pad): moved into the pads {moved} of {reader.name}"
