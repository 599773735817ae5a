"""A dataflow graph as the plain layers that the golden model, the cycle model and the rules share.

A kind of layer has one entry in `_READERS`: how FINN's node of it is read.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from labd_host.dataflow.layers import (
    Array,
    DataflowGraph,
    GlobalPool,
    LabelSelect,
    Layer,
    MaxPool,
    Mvau,
    Padding,
    SlidingWindow,
    Thresholding,
    Upsample,
    Vvau,
    kind_of,
)
from labd_host.proof.plain_graph import Graph, Node
from labd_shared.errors import StageFailed
from labd_shared.tensors import Tensor, make_tensor

_FIX = "compile the network with a newer labd, or change the network"


def describe(graph: Graph, name: str, edges: tuple[Mapping[str, Any], Mapping[str, Any]]) -> DataflowGraph:
    """The network of a dataflow graph.

    Args:
        graph: Hardware layers in a chain.
        name: Of the network.
        edges: What `Finn.edges` says of the graph's input and output.

    Raises:
        StageFailed: the graph is no chain, or holds a layer that labd does not know.
    """
    layers: list[Layer] = []
    arrays: dict[str, Array] = {}
    tensor = graph.input
    for node in graph.nodes:
        if node.inputs[0] != tensor:
            raise StageFailed(
                f"{node.name} reads {node.inputs[0]}, a chain would read {tensor}", fix=_FIX, stage="folded"
            )
        tensor = node.outputs[0]
        layers.append(_layer(graph, node, arrays))
    return DataflowGraph(
        name=name,
        layers=tuple(layers),
        inputs=(_tensor(edges[0], "idma0"),),
        outputs=(_tensor(edges[1], "odma0"),),
        arrays=arrays,
    )


def _tensor(edge: Mapping[str, Any], dma: str) -> Tensor:
    layout = "NHWC" if len(edge["normal"]) == 4 else "NC"
    return make_tensor(edge["name"], edge["datatype"], edge["normal"], edge["folded"], layout, dma)


def _layer(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer:
    kind = kind_of(node.kind)
    read = _READERS.get(kind) if kind is not None and kind.op == node.kind else None
    layer = read(graph, node, arrays) if read else None
    if layer is None:
        raise StageFailed(
            f"labd does not know the layer {node.name} ({node.op}), or not in this form",
            fix=_FIX,
            stage="folded",
        )
    for fault in layer.faults():
        raise StageFailed(
            fault, fix="change that layer in the network, or the quantiser in front of it", stage="folded"
        )
    return layer


def _thresholding(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer:
    get = node.attributes.__getitem__
    thresholds = _integers(graph, node, 1)
    arrays[f"{node.name}.thresholds"] = thresholds
    return Thresholding(
        name=node.name,
        channels=get("NumChannels"),
        vectors=math.prod(get("numInputVectors")),
        pe=get("PE"),
        steps=thresholds.shape[1],
        input=get("inputDataType"),
        output=get("outputDataType"),
        offset=int(get("ActVal")),
    )


def _mvau(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    if get("TH") != 1:
        return None
    arrays[f"{node.name}.weights"] = _integers(graph, node, 1)
    steps = 0
    if not get("noActivation"):
        arrays[f"{node.name}.thresholds"] = _integers(graph, node, 2)
        steps = arrays[f"{node.name}.thresholds"].shape[1]
    return Mvau(
        name=node.name,
        mw=get("MW"),
        mh=get("MH"),
        vectors=math.prod(get("numInputVectors")),
        pe=get("PE"),
        simd=get("SIMD"),
        steps=steps,
        xnor=bool(get("binaryXnorMode")),
        input=get("inputDataType"),
        weight=get("weightDataType"),
        output=get("outputDataType"),
        offset=int(get("ActVal")),
    )


def _vvau(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    if get("binaryXnorMode"):
        return None
    channels, kernel = get("Channels"), math.prod(get("Kernel"))
    arrays[f"{node.name}.weights"] = _integers(graph, node, 1).reshape(channels, kernel).T
    steps = 0
    if not get("noActivation"):
        arrays[f"{node.name}.thresholds"] = _integers(graph, node, 2)
        steps = arrays[f"{node.name}.thresholds"].shape[1]
    return Vvau(
        name=node.name,
        channels=channels,
        kernel=kernel,
        vectors=math.prod(get("Dim")),
        pe=get("PE"),
        simd=get("SIMD"),
        steps=steps,
        input=get("inputDataType"),
        weight=get("weightDataType"),
        output=get("outputDataType"),
        offset=int(get("ActVal")),
    )


def _label_select(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    if get("K") != 1:
        return None
    return LabelSelect(
        name=node.name,
        labels=get("Labels"),
        pe=get("PE"),
        input=get("inputDataType"),
        output=get("outputDataType"),
    )


def _window(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    if get("dynamic_mode"):
        return None
    (height, width), (kernel_h, kernel_w) = get("IFMDim"), get("ConvKernelDim")
    return SlidingWindow(
        name=node.name,
        channels=get("IFMChannels"),
        height=height,
        width=width,
        kernel_h=kernel_h,
        kernel_w=kernel_w,
        stride_h=get("Stride")[0],
        stride_w=get("Stride")[1],
        dilation_h=get("Dilation")[0],
        dilation_w=get("Dilation")[1],
        depthwise=bool(get("depthwise")),
        parallel=bool(get("parallel_window")),
        simd=get("SIMD"),
        input=get("inputDataType"),
        output=get("outputDataType"),
    )


def _padding(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    if get("numInputVectors") != 1:
        return None
    top, left, bottom, right = get("Padding")
    return Padding(
        name=node.name,
        channels=get("NumChannels"),
        height=get("ImgDim")[0],
        width=get("ImgDim")[1],
        top=top,
        left=left,
        bottom=bottom,
        right=right,
        simd=get("SIMD"),
        input=get("inputDataType"),
        output=get("inputDataType"),
    )


def _max_pool(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    if get("Function") != "MaxPool" or get("BatchSize") != 1:
        return None
    return MaxPool(
        name=node.name,
        channels=get("Channels"),
        vectors=math.prod(get("OutImgDims")),
        kernel=math.prod(get("KernelSize")),
        pe=get("PE"),
        input=get("InputDataType"),
        output=get("OutputDataType"),
    )


def _global_pool(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    if len(get("numInputVectors")) != 3 or get("numInputVectors")[0] != 1:
        return None
    return GlobalPool(
        name=node.name,
        channels=get("NumChannels"),
        height=get("numInputVectors")[1],
        width=get("numInputVectors")[2],
        pe=get("PE"),
        input=get("inputDataType"),
        output=graph.datatypes[node.outputs[0]],
    )


def _upsample(graph: Graph, node: Node, arrays: dict[str, Array]) -> Layer | None:
    get = node.attributes.__getitem__
    height, width, out_height, out_width = (get(key) for key in ("HI", "WI", "HO", "WO"))
    if get("batchSize") != 1 or out_height % height or out_width % width:
        return None
    return Upsample(
        name=node.name,
        channels=get("NumChannels"),
        height=height,
        width=width,
        scale_h=out_height // height,
        scale_w=out_width // width,
        simd=get("SIMD"),
        input=get("inputDataType"),
        output=get("inputDataType"),
    )


# None: a layer of that kind in a form that labd does not know.
_READERS: dict[type[Layer], Callable[[Graph, Node, dict[str, Array]], Layer | None]] = {
    Thresholding: _thresholding,
    Mvau: _mvau,
    Vvau: _vvau,
    SlidingWindow: _window,
    Padding: _padding,
    MaxPool: _max_pool,
    GlobalPool: _global_pool,
    Upsample: _upsample,
    LabelSelect: _label_select,
}


def _integers(graph: Graph, node: Node, index: int) -> Array:
    """Parameter *index* of *node* as integers; a threshold between two integers is the upper one.

    A sum reaches 12.5 exactly when it reaches 13. Weights are integers to begin with.
    """
    value = graph.constants.get(node.inputs[index])
    if value is None:
        raise StageFailed(f"{node.name} has no constant {node.inputs[index]}", fix=_FIX, stage="folded")
    whole = np.ceil(value)
    if node.kind in ("MVAU", "VVAU") and index == 1 and not np.array_equal(whole, value):
        raise StageFailed(f"the weights of {node.name} are no integers", fix=_FIX, stage="folded")
    return whole.astype(np.int64)
