"""Averages over a whole feature map: the three ways an export writes them, brought to one, and their layout.

Its functions of a model are steps of `labd_host.flow.stages`.

FINN makes hardware of a GlobalAveragePool: the sums of the map, and a division that it moves into the
thresholds behind. A ReduceMean over height and width and an AveragePool as large as the map mean the same.
"""

from typing import Any

from labd_host.flow.plain_graph import Graph, Node

AVERAGES = ("GlobalAveragePool", "AveragePool", "ReduceMean")
_MAP_AXES = [2, 3]  # height and width of an exported feature map


def averaged_map(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Height and width of the map of which *node*, one of AVERAGES, gives the mean; None: not of a whole map."""
    shape = graph.shapes.get(node.inputs[0], ())
    if len(shape) != 4 or min(shape) < 1:
        return None
    if node.op == "ReduceMean":
        axes = node.attributes.get("axes")
        if axes is None and len(node.inputs) > 1:
            axes = graph.constants.get(node.inputs[1])
        whole = axes is not None and sorted(int(axis) % 4 for axis in axes) == _MAP_AXES
    elif node.op == "AveragePool":
        padded = any(node.attributes.get("pads", ())) or "SAME" in str(node.attributes.get("auto_pad", ""))
        whole = list(node.attributes["kernel_shape"]) == list(shape[2:]) and not padded
    else:
        whole = True
    return (shape[2], shape[3]) if whole else None


def averaged_pixels(graph: Graph, node: Node) -> int:
    """How many pixels the mean of *node* is of; admission saw that it is of a whole map."""
    height, width = averaged_map(graph, node) or (1, 1)
    return height * width


def make_global(model: Any) -> Any:
    """Make a GlobalAveragePool of every average of a whole map; other averages were refused."""
    from onnx import TensorProto, helper

    for index, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type not in AVERAGES[1:]:
            continue
        batch, channels, *_ = model.get_tensor_shape(node.input[0])
        kept = len(model.get_tensor_shape(node.output[0])) == 4
        result = node.output[0]
        between = result if kept else model.make_new_valueinfo_name()
        made = [helper.make_node("GlobalAveragePool", [node.input[0]], [between])]
        if not kept:
            shape = helper.make_tensor_value_info(between, TensorProto.FLOAT, (batch, channels, 1, 1))
            model.graph.value_info.append(shape)
            made.append(helper.make_node("Flatten", [between], [result], axis=1))
        model.graph.node.remove(node)
        for new in reversed(made):
            model.graph.node.insert(index, new)
    return model


def drop_transposes_of_sums(model: Any) -> Any:
    """A Transpose of a GlobalAccPool's sums, one pixel, left out in front of a Flatten or Reshape.

    The order of the values stays the same; FINN takes such a Transpose out only where an MVAU follows.
    """
    for node in list(model.graph.node):
        readers = model.find_consumers(node.output[0]) or []
        if node.op_type != "Transpose" or [
            reader.op_type in ("Flatten", "Reshape") for reader in readers
        ] != [True]:
            continue
        before = model.find_producer(node.input[0])
        if before is not None and before.op_type == "Mul":  # by one through the pixels
            before = model.find_producer(before.input[0])
        if before is not None and before.op_type == "GlobalAccPool":
            readers[0].input[0] = node.input[0]
            model.graph.node.remove(node)
    return model
