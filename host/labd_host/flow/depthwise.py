"""Depthwise convolutions: which groups FINN has hardware for, and two steps that its own ones leave open.

Its functions of a model are steps of `labd_host.flow.stages`.

qonnx's LowerConvsToMatMul makes of a depthwise convolution a product with a matrix that is zero where channels
do not meet, and marks it (sparsity "dw"); FINN's InferVectorVectorActivation makes a VVAU of what is marked.

Source: finn-plus 1.6.1, transformation/fpgadataflow/convert_to_hw/vector_vector_activation.py,
custom_op/fpgadataflow/vectorvectoractivation.py; qonnx 1.0.0, transformation/lower_convs_to_matmul.py and
bipolar_to_xnor.py.
"""

from typing import Any

from labd_host.flow.signs import BIPOLAR, through_bits
from labd_host.proof.plain_graph import Graph, Node


def groups_of(graph: Graph, node: Node) -> tuple[int, int, int]:
    """Of a Conv: its groups, in which channels do not meet those of others, and its channels in and out.

    They are read off its weights, (channels out, channels in of a group, ...), which quantisers leave in shape.
    """
    groups = int(node.attributes.get("group", 1))
    weights = node.inputs[1]
    while (maker := graph.producer(weights)) is not None:
        weights = maker.inputs[0]
    shape = graph.constants[weights].shape if weights in graph.constants else (0, 0)
    return groups, groups * shape[1], shape[0]


def keep_signs_as_numbers(model: Any) -> Any:
    """Weights of -1 and 1 that meet values of -1 and 1 in a depthwise product declared INT2.

    A matrix with zeros in it is none of signs, so counting agreeing bits would give something else; and a VVAU
    of two signs counts them without its thresholds being made counts. Signs times INT2 are products of numbers.
    """
    from qonnx.core.datatype import DataType

    for node in _products(model):
        kinds = [model.get_tensor_datatype(name).name for name in node.input]
        if kinds == [BIPOLAR, BIPOLAR]:
            model.set_tensor_datatype(node.input[1], DataType["INT2"])
    return model


def infer_vvau(model: Any) -> Any:
    """A VVAU of every depthwise product; thresholds that give -1 and 1 go into it as into an MVAU."""
    from finn.transformation.fpgadataflow.convert_to_hw.vector_vector_activation import (
        InferVectorVectorActivation,
    )

    products = {node.output[0] for node in _products(model)}
    alone = {name for name in products if len(model.find_consumers(name) or []) == 1}
    return through_bits(
        model, lambda each: each.transform(InferVectorVectorActivation()), lambda node: node.input[0] in alone
    )


def _products(model: Any) -> list[Any]:
    """The products that qonnx marked as depthwise."""
    return [
        node
        for node in model.graph.node
        if node.op_type == "MatMul" and model.get_tensor_sparsity(node.input[1]) is not None
    ]
