"""Averages over a whole feature map: the three ways an export writes them, brought to one, and their layout.

Its functions of a model are steps of `labd_host.flow.stages`.

FINN makes hardware of a GlobalAveragePool: the sums of the map, and a division that it moves into the
thresholds behind. A ReduceMean over height and width and an AveragePool as large as the map mean the same.
"""

from typing import Any

from labd_host.proof.averaged_maps import AVERAGES


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
