"""A function and the quantiser behind it as thresholds: sigmoid, tanh, leaky Relu and all others that never fall.

Level i of the quantiser is reached from one input on. That input is searched for among all float32 numbers, with the
function's own code in onnxruntime and the quantiser's rounding, halves included: so the thresholds give exactly what
the export gives. FINN's own conversion knows Relu in front of an unsigned quantiser only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labd_host.rewrites.onnx_edit import OnnxEdit, Values, attributes, level_range, levels
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

FUNCTIONS = (
    "Atan", "Celu", "Clip", "Elu", "Erf", "HardSigmoid", "LeakyRelu", "PRelu", "Selu", "Sigmoid", "Softplus",
    "Softsign", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_BETWEEN = ("Add", "Div", "Identity", "Mul", "Relu", "Sub")  # may stand among them, with constants
_BEYOND = np.float32(1e30)  # a threshold that is never reached; -1e30: always
_STEPS = 33  # halvings that single out one of 2**32 float32 numbers
_PROBES = 2000
_NOISE = 1e-6  # of float32: by how much a function may fall between two probes


def make_thresholds(model: Any) -> Any:
    """Make a MultiThreshold of every quantiser in *model* that has such functions in front of it.

    Args:
        model: Whatever has a `graph`; shapes are known, constants folded.

    Raises:
        ArtifactError: a function falls somewhere.
    """
    edit = OnnxEdit(model.graph)
    opset = next((each.version for each in _proto(model).opset_import if each.domain in ("", "ai.onnx")), 18)
    for result in [node.output[0] for node in edit.graph.node if node.op_type in ("Quant", "BipolarQuant")]:
        quantiser = edit.maker(result)
        if quantiser is None or edit.is_constant(result):
            continue
        functions = _in_front(edit, quantiser)
        if not _known_to_finn(edit, functions, quantiser):
            _replace(edit, functions, quantiser, opset)
    return model


def _proto(model: Any) -> onnx.ModelProto:
    """The protocol buffer of *model*, which may be qonnx's wrapper of one."""
    proto: onnx.ModelProto = getattr(model, "model", model)
    return proto


def _in_front(edit: OnnxEdit, quantiser: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes that go into the thresholds of *quantiser*, the first one first; none where FINN needs no help."""
    found: list[onnx.NodeProto] = []
    tensor = quantiser.input[0]
    while (node := edit.maker(tensor)) is not None and edit.only_reader(tensor) is not None:
        others = [name for name in node.input if not edit.is_constant(name)]
        if node.op_type not in (*FUNCTIONS, *_BETWEEN) or len(others) != 1:
            break
        found.insert(0, node)
        tensor = others[0]
    while found and found[0].op_type not in (*FUNCTIONS, "Relu"):
        found.pop(0)  # what scales and shifts in front of them streamlining takes into thresholds
    return found


def _known_to_finn(edit: OnnxEdit, functions: Sequence[onnx.NodeProto], quantiser: onnx.NodeProto) -> bool:
    """Whether FINN makes the right thresholds of *quantiser* with *functions* in front of it."""
    parameters = [edit.value_of(name) for name in quantiser.input[1:]]
    if any(value is None for value in parameters) or (len(parameters) > 1 and np.any(parameters[1])):
        return True  # computed scales and zero points are refused elsewhere
    if quantiser.op_type == "BipolarQuant":
        return not functions and bool(np.all(parameters[0] == 1))
    known = attributes(quantiser)
    one_bit = parameters[2] is not None and bool(parameters[2].reshape(-1)[0] == 1)
    if [node.op_type for node in functions] == ["Relu"]:
        return not (known.get("signed", 1) or known.get("narrow", 0) or one_bit)
    return not functions and not (one_bit and not known.get("signed", 1))  # it takes 0 and 1 for -1 and +1


def _replace(
    edit: OnnxEdit, functions: Sequence[onnx.NodeProto], quantiser: onnx.NodeProto, opset: int
) -> None:
    source = edit.operand((*functions, quantiser)[0])
    shape = edit.shape(source) or (1, 1)
    parameters = [value for name in quantiser.input[1:] if (value := edit.value_of(name)) is not None]
    if quantiser.op_type == "BipolarQuant":
        low, high, kind, step = -1.0, 1.0, "BIPOLAR", 2.0
    else:
        low, high = level_range(quantiser, float(parameters[2].reshape(-1)[0]))
        kind, step = _kind(low, high), 1.0
    thresholds = _thresholds(
        edit, functions, quantiser, parameters, opset, shape, np.arange(low + step, high + 1, step)
    )
    counted = edit.new_tensor(quantiser.output[0])
    edit.insert(
        quantiser,
        "MultiThreshold",
        [source, edit.new_constant("thresholds", thresholds)],
        [counted],
        out_dtype=kind,
        out_scale=step,
        out_bias=low,
        data_layout={2: "NC", 3: "NCW", 4: "NCHW"}.get(len(shape), "NC"),
    )
    scale = edit.new_constant("scale", parameters[0].astype(np.float32))
    edit.insert(quantiser, "Mul", [counted, scale], [quantiser.output[0]])
    for node in (quantiser, *reversed(functions)):
        edit.remove(node)


def _kind(low: float, high: float) -> str:
    """FINN's name of the smallest type from *low* to *high*."""
    if low >= 0:
        bits = int(high).bit_length()
        return "BINARY" if bits == 1 else f"UINT{bits}"
    return f"INT{1 + max(int(-low - 1).bit_length(), int(high).bit_length())}"


def _thresholds(
    edit: OnnxEdit, functions: Sequence[onnx.NodeProto], quantiser: onnx.NodeProto, parameters: list[Values],
    opset: int, shape: tuple[int, ...], wanted: Values,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """The smallest input that gives each of the levels *wanted*: float32 (channels or 1, levels)."""
    compute = _function(edit, functions, opset)
    others = [edit.value_of(name) for node in functions for name in node.input if name]
    constants = [*parameters[:1], *(value for value in others if value is not None)]
    channels = shape[1] if any(constant.size > 1 for constant in constants) else 1
    rest = (1,) * (len(shape) - 2)

    def level(inputs: npt.NDArray[np.float32]) -> Values:
        """Levels (many, channels) of inputs of that shape."""
        made = levels(quantiser, compute(inputs.reshape(*inputs.shape, *rest)), parameters)
        return made.reshape(len(inputs), -1)

    if functions:
        _check_rising(compute, channels, rest, functions[0])
    targets = np.repeat(wanted[:, np.newaxis], channels, axis=1)
    low, high = (np.full(targets.shape, _ordered(np.float32(side))) for side in (-_BEYOND, _BEYOND))
    never, always = level(_float(high)) < targets, level(_float(low)) >= targets
    for _ in range(_STEPS):
        middle = (low + high) >> 1
        reached = level(_float(middle)) >= targets
        high, low = np.where(reached, middle, high), np.where(reached, low, middle)
    found = np.where(never, _BEYOND, np.where(always, -_BEYOND, _float(high)))
    return np.ascontiguousarray(found.T, np.float32)


def _check_rising(
    compute: Callable[[Values], Values], channels: int, rest: tuple[int, ...], node: onnx.NodeProto
) -> None:
    near = np.linspace(-20, 20, _PROBES)
    far = _float(np.linspace(_ordered(-_BEYOND), _ordered(_BEYOND), _PROBES).astype(np.int64))
    probes = np.sort(np.concatenate([near, far])).astype(np.float32)
    found = compute(np.repeat(probes[:, np.newaxis], channels, axis=1).reshape(-1, channels, *rest))
    found = found.reshape(len(probes), channels).astype(np.float64)
    falls = np.argwhere(~(np.diff(found, axis=0) >= -_NOISE * np.maximum(np.abs(found[1:]), 1)))
    if len(falls):
        at = probes[falls[0][0]]
        raise ArtifactError(
            f"{node.name} ({node.op_type}) and its quantiser cannot become thresholds: their result falls where "
            f"the input rises above {at:g}",
            fix="choose a function that never falls (QuantReLU, QuantSigmoid, QuantTanh), train and export again",
            nodes=[node.name],
        )


def _function(edit: OnnxEdit, functions: Sequence[onnx.NodeProto], opset: int) -> Callable[[Values], Values]:
    """The *functions* one after the other, in onnxruntime."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    if not functions:
        return lambda inputs: inputs
    source = edit.operand(functions[0])
    result = functions[-1].output[0]
    names = {name for node in functions for name in node.input if name} - {source}
    constants = {name: edit.value_of(name) for name in names}
    graph = helper.make_graph(
        list(functions),
        "functions",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if value is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def compute(inputs: Values) -> Values:
        computed: Values = session.run([result], {source: inputs})[0]
        return computed

    return compute


def _ordered(value: np.float32) -> int:
    """Where *value* stands among all float32 numbers; 0 is at 0."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _float(places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The float32 numbers at *places*."""
    bits = np.where(places < 0, -places | 0x80000000, places).astype(np.uint32)
    return bits.view(np.float32)
