"""What is worth saying of a node: its kind, its parameters, its folding, in a student's words."""

from collections.abc import Mapping

import numpy as np

from labd_host.dataflow.layers import KINDS, WidthConverter
from labd_host.proof.plain_graph import Graph, Node

_KINDS = {
    "quantise": "Quant BipolarQuant BinaryQuant IntQuant Trunc MultiThreshold Relu Sign Clip "
    "HardTanh QuantizeLinear DequantizeLinear Celu Elu HardSigmoid LeakyRelu PRelu Selu Sigmoid Softplus Softsign Tanh",
    "product": "MatMul Gemm Conv XnorPopcountMatMul ConvTranspose",
    "scale": "Mul Add Sub Div BatchNormalization Sum Neg AddStreams ChannelwiseOp ElementwiseAdd "
    "ElementwiseMul ElementwiseSub ElementwiseDiv",
    "move": "Reshape Flatten Transpose Squeeze Unsqueeze Im2Col Pad Concat Split Slice Identity "
    "DuplicateStreams StreamingFIFO StreamingConcat StreamingSplit Lookup Gather Resize Upsample",
    "pool": "MaxPool MaxPoolNHWC AveragePool GlobalAveragePool QuantAvgPool2d ReduceMean",
    "class": "TopK ArgMax Softmax",
}
_KIND_OF = {
    **{op: kind for kind, ops in _KINDS.items() for op in ops.split()},
    **{name: kind.role for kind in KINDS for name in kind.finn_names},
    **dict.fromkeys(WidthConverter.finn_names, WidthConverter.role),
}

_ROLES = {
    "product": {1: "weights", 2: "thresholds"},
    "quantise": {0: "weights", 1: "thresholds"},
    "class": {1: "k"},
    "Gemm": {1: "weights", 2: "bias"},
    "Conv": {1: "weights", 2: "bias"},
    "Quant": {0: "weights", 1: "scale", 2: "zero point", 3: "bits"},
    "IntQuant": {0: "weights", 1: "scale", 2: "zero point", 3: "bits"},
    "BipolarQuant": {0: "weights", 1: "scale"},
    "BatchNormalization": {1: "scale", 2: "bias", 3: "mean", 4: "variance"},
    "Reshape": {1: "shape"},
    "Mul": {0: "times", 1: "times"},
    "Div": {1: "divided by"},
    "Add": {0: "plus", 1: "plus"},
    "Sub": {1: "minus"},
}
_SHOWN = 4  # numbers of a constant that are written out
_GEOMETRY = {
    "kernel": ("kernel_shape", "kernel_size", "ConvKernelDim", "KernelSize", "PoolDim"),
    "stride": ("strides", "stride", "Stride"),
}
FOLDING = ("PE", "SIMD")


def kind_of(node: Node) -> str:
    """One of `labd_host.drawing.graph_colours.KINDS`."""
    return _KIND_OF.get(node.kind, "other")


def parameters(graph: Graph, node: Node) -> dict[str, str]:
    """What the constants of *node* are: role -> value of a small one, shape and datatype of others."""
    roles = {**_ROLES.get(kind_of(node), {}), **_ROLES.get(node.kind, {})}
    found = {}
    for index, tensor in enumerate(node.inputs):
        if tensor in graph.constants:
            found[roles.get(index, f"parameter {index}")] = _constant(graph, tensor)
    return found


def said_cycles(cycles: int, *, slowest: bool) -> str:
    """So many cycles, and whether nothing takes more."""
    return f"{cycles:,} cycle{'s' * (cycles != 1)}{', the slowest' * slowest}"


def lines(graph: Graph, node: Node, cycles: Mapping[str, int], slowest: str = "") -> list[str]:
    """The lines of a node's box: parameters (those of one form in one line), then folding and cycles.

    Args:
        graph, node: What is described.
        cycles: Node name -> cycles a frame.
        slowest: The name of the slowest node.
    """
    forms: dict[str, list[str]] = {}
    for role, said in parameters(graph, node).items():
        forms.setdefault(said, []).append(role)
    said_lines = [f"{', '.join(roles)} {said}" for said, roles in forms.items()]
    said_lines += _geometry(node)
    fold = [f"{key} {node.attributes[key]}" for key in FOLDING if key in node.attributes]
    if node.name in cycles:
        fold.append(said_cycles(cycles[node.name], slowest=node.name == slowest))
    return [*said_lines, *([" · ".join(fold)] if fold else [])]


def _geometry(node: Node) -> list[str]:
    """Kernel, stride and order of axes of what has them."""
    found = []
    for said, keys in _GEOMETRY.items():
        value = next((node.attributes[key] for key in keys if key in node.attributes), None)
        if isinstance(value, list) and set(value) != {1}:
            found.append(f"{said} {'×'.join(str(axis) for axis in value[:_SHOWN])}")
    if isinstance(node.attributes.get("perm"), list):
        found.append(f"axes {', '.join(str(axis) for axis in node.attributes['perm'][:8])}")
    return [" · ".join(found)] if found else []


def tensor(graph: Graph, name: str) -> str:
    """Shape and datatype of a tensor: "1×64 BINARY"."""
    shape = graph.shapes.get(name)
    size = "×".join(str(axis) for axis in shape) if shape else "scalar" if shape is not None else "?"
    return f"{size} {graph.datatypes.get(name, 'FLOAT32')}"


def facts(node: Node) -> list[str]:
    """Everything else, a line each."""
    return [f"{key}: {value}" for key, value in sorted(node.attributes.items())]


def _constant(graph: Graph, name: str) -> str:
    value = graph.constants[name]
    if value.dtype.kind not in "iufb" or value.size > _SHOWN or not value.size:
        return tensor(graph, name)
    return ", ".join(f"{each:g}" for each in np.ravel(value).astype(np.float64))
