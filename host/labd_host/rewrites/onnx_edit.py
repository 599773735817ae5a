"""An ONNX graph that is being changed: who makes and reads each tensor, its constants, new nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

Values = npt.NDArray[Any]

QONNX_DOMAIN = "qonnx.custom_op.general"
QUANTISERS = ("Quant", "BipolarQuant", "MultiThreshold")
SHAPES_ONLY = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_SAME_SHAPE = (*QUANTISERS, "BatchNormalization", "Cast", "Clip", "Identity", "Relu")
_DATATYPE = "finn_datatype"


class OnnxEdit:
    """Changes *graph* in place.

    Attributes:
        graph: The graph.
        constants: Name -> value, of initializers.
        input: The one tensor that is fed.
        output: The first tensor that comes out.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.constants: dict[str, Values] = {
            entry.name: numpy_helper.to_array(entry) for entry in graph.initializer
        }
        self.input = next(entry.name for entry in graph.input if entry.name not in self.constants)
        self.output = graph.output[0].name
        self._fresh = 0
        for index, node in enumerate(graph.node):
            node.name = node.name or f"{node.op_type}_{index}"

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes *tensor*; None for the input and for constants."""
        return next((node for node in self.graph.node if tensor in node.output), None)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read *tensor*."""
        return [node for node in self.graph.node if tensor in node.input]

    def only_reader(self, tensor: str) -> onnx.NodeProto | None:
        """The node that reads *tensor* where there is one and *tensor* does not leave the graph."""
        readers = self.readers(tensor)
        leaves = any(entry.name == tensor for entry in self.graph.output)
        return readers[0] if len(readers) == 1 and not leaves else None

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of *tensor*; None where it is not known."""
        if tensor in self.constants:
            return tuple(self.constants[tensor].shape)
        for entry in (*self.graph.input, *self.graph.value_info, *self.graph.output):
            if entry.name == tensor and entry.type.tensor_type.HasField("shape"):
                axes = tuple(axis.dim_value for axis in entry.type.tensor_type.shape.dim)
                return axes if min(axes, default=1) > 0 else None
        node = self.maker(tensor)
        return self.shape(node.input[0]) if node is not None and node.op_type in _SAME_SHAPE else None

    def is_constant(self, tensor: str) -> bool:
        """Whether *tensor* is the same for every input of the graph."""
        if tensor in self.constants or not tensor:
            return True
        node = self.maker(tensor)
        return node is not None and all(self.is_constant(name) for name in node.input)

    def operand(self, node: onnx.NodeProto) -> str:
        """The first tensor that *node* reads and that is not constant."""
        return str(next(name for name in node.input if not self.is_constant(name)))

    def value_of(self, tensor: str) -> Values | None:
        """The constant in *tensor*, a quantised weight included; None where it depends on the input."""
        found: Values | None = self.constants.get(tensor)
        if found is not None:
            return found
        node = self.maker(tensor)
        if node is None:
            return None
        values = [self.value_of(name) for name in node.input]
        if any(value is None for value in values):
            return None
        return _folded(node, [value for value in values if value is not None])

    def new_tensor(self, stem: str) -> str:
        """A name that no tensor has."""
        taken = {*self.constants, self.input}.union(*(node.output for node in self.graph.node))
        while (name := f"{stem}_labd{self._fresh}") in taken:
            self._fresh += 1
        return name

    def new_constant(self, stem: str, value: Values) -> str:
        """A constant, and its name."""
        from onnx import numpy_helper

        name = self.new_tensor(stem)
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        self.constants[name] = np.asarray(value)
        return name

    def insert(
        self,
        before: onnx.NodeProto,
        kind: str,
        inputs: Iterable[str],
        outputs: Iterable[str],
        **attributes: Any,  # noqa: ANN401  whatever the operator has
    ) -> onnx.NodeProto:
        """A new node in front of *before*, which stays where it is."""
        from onnx import helper

        domain = QONNX_DOMAIN if kind in QUANTISERS else ""
        outputs = list(outputs)
        node = helper.make_node(
            kind, list(inputs), outputs, f"{kind}_{outputs[0]}", domain=domain, **attributes
        )
        at = self.place(before)
        self.graph.node.insert(at, node)
        return self.graph.node[at]

    def place(self, node: onnx.NodeProto) -> int:
        """Where *node* stands in the order of the graph."""
        return next(index for index, each in enumerate(self.graph.node) if each.output[0] == node.output[0])

    def remove(self, node: onnx.NodeProto) -> None:
        """Take *node* out; who read its output must have been given another."""
        self.graph.node.remove(node)

    def forget_shape(self, tensor: str) -> None:
        """Let the shape of *tensor* be found again."""
        for entry in [each for each in self.graph.value_info if each.name == tensor]:
            self.graph.value_info.remove(entry)

    def set_shape(self, tensor: str, shape: Sequence[int]) -> None:
        """Let *tensor*, float32 as all values between nodes are, have that *shape*."""
        from onnx import TensorProto, helper

        self.forget_shape(tensor)
        self.graph.value_info.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, list(shape)))

    @property
    def datatype(self) -> str:
        """What the input is declared to be, as FINN calls it; "" where nothing is declared."""
        for note in self.graph.quantization_annotation:
            if note.tensor_name == self.input:
                return next(
                    (pair.value for pair in note.quant_parameter_tensor_names if pair.key == _DATATYPE), ""
                )
        return ""

    def declare(self, datatype: str) -> None:
        """Declare the input to be of *datatype*."""
        from onnx import StringStringEntryProto, TensorAnnotation

        pair = StringStringEntryProto(key=_DATATYPE, value=datatype)
        self.graph.quantization_annotation.append(
            TensorAnnotation(tensor_name=self.input, quant_parameter_tensor_names=[pair])
        )


def attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    """The attributes of *node* that are set."""
    from onnx import helper

    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    """Set an attribute of *node*, whether it is there or not."""
    from onnx import helper

    for entry in [each for each in node.attribute if each.name == name]:
        node.attribute.remove(entry)
    node.attribute.append(helper.make_attribute(name, value))


def replace_input(node: onnx.NodeProto, old: str, new: str) -> None:
    """Let *node* read *new* where it read *old*."""
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new


def levels(node: onnx.NodeProto, values: Values, parameters: list[Values]) -> Values:
    """What the quantiser *node* makes of float32 *values*, counted in steps of its scale: float64 integers.

    Source: qonnx 1.0.0, custom_op/general/quant.py (float32, halves to even).
    """
    scale = parameters[0].astype(np.float32)
    if node.op_type == "BipolarQuant":
        return np.where(values >= 0, 1.0, -1.0)
    zero, bits = (np.float32(value.reshape(-1)[0]) for value in parameters[1:3])
    low, high = level_range(node, float(bits))
    scaled = values.astype(np.float32) / scale + zero
    rounded: Values = np.rint(np.clip(scaled, np.float32(low), np.float32(high))).astype(np.float64)
    return rounded - float(zero)


def level_range(node: onnx.NodeProto, bits: float) -> tuple[float, float]:
    """The lowest and the highest level of the Quant *node*."""
    found = attributes(node)
    signed, narrow = int(found.get("signed", 1)), int(found.get("narrow", 0))
    top = 2.0 ** (bits - signed) - 1
    return (narrow - 2.0 ** (bits - 1), top) if signed else (0.0, top - narrow)


def _folded(node: onnx.NodeProto, values: list[Values]) -> Values | None:
    """The result of a node whose inputs are all constant; None where it is not one that weights have."""
    if node.op_type in ("Quant", "BipolarQuant"):
        return levels(node, values[0], values[1:]) * values[1].astype(np.float64)
    if node.op_type == "Transpose":
        return np.asarray(np.transpose(values[0], attributes(node).get("perm")))
    if node.op_type == "Identity":
        return values[0]
    return None
