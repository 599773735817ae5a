"""A graph as plain data: what `finn_door` sees in an ONNX model, for those who do not import FINN."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: Unique in its graph.
        op: "MatMul", "MVAU_hls", ...
        inputs, outputs: Tensor names.
        attributes: With FINN's and qonnx's defaults filled in.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The operation without its implementation: MVAU of MVAU_hls and MVAU_rtl."""
        return self.op.removesuffix("_hls").removesuffix("_rtl")


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can run.

    Attributes:
        nodes: The operations.
        constants: Tensor name -> value, of initializers.
        datatypes: Tensor name -> FINN datatype name ("FLOAT32" where none is declared).
        shapes: Tensor name -> shape for a batch of one.
        input, output: The graph's tensors.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Values] = field(repr=False)
    datatypes: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    input: str
    output: str

    @property
    def dependent(self) -> list[str]:
        """The tensors that depend on the input, the input first."""
        found = [self.input]
        for node in self.nodes:
            if not set(found).isdisjoint(node.inputs):
                found += [name for name in node.outputs if name]
        return found

    def producer(self, tensor: str) -> Node | None:
        """The node that makes *tensor*, or None for inputs and constants."""
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read *tensor*."""
        return [node for node in self.nodes if tensor in node.inputs]


@dataclass(frozen=True, eq=False)
class GraphTrace:
    """What a graph computed for a batch of frames.

    Attributes:
        values: Tensor name -> (N, ...), of everything that depends on the input.
        sums: Node name -> (N, ...), the sums inside a layer that thresholds them.
        constants: Tensor name -> value, of what nodes made of constants alone: quantised weights.
    """

    values: Mapping[str, npt.NDArray[np.floating[Any]]]
    sums: Mapping[str, npt.NDArray[np.floating[Any]]]
    constants: Mapping[str, npt.NDArray[np.floating[Any]]]
