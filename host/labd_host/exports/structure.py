"""The bare structure of an export: names, order, one input, constants apart from inputs.

`check` refuses what is damaged; the other functions change the model and yield a line for each change.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labd_host.exports.onnx_file import AGAIN, QONNX_DOMAIN
from labd_host.exports.wiring import Wiring, attributes_of, named
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_CONSTANT_KINDS = ("value", "value_float", "value_int", "value_floats", "value_ints")


def check(model: onnx.ModelProto) -> None:
    """Refuse a graph whose texts, constants or wires are damaged, or that holds graphs of its own.

    Raises:
        ArtifactError: naming the node or tensor.
    """
    import numpy as np
    from onnx import numpy_helper

    graph = model.graph
    texts = [entry.name for entry in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
    for text in texts:
        if not isinstance(text, str) or not text.isprintable():
            raise ArtifactError(f"the name {text!a} in the network is not text that can be shown", fix=AGAIN)
    if graph.sparse_initializer:
        raise ArtifactError(
            "the network has sparse constants, labd reads dense ones", fix="export it without them"
        )
    for constant in graph.initializer:
        try:
            value = numpy_helper.to_array(constant)
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"the constant {constant.name} is damaged: {error}", fix=AGAIN) from error
        if value.dtype.kind == "f" and np.isnan(value).any():
            raise ArtifactError(
                f"the constant {constant.name} has {int(np.isnan(value).sum())} values that are not numbers (NaN)",
                fix="look at the training: its loss diverged; train again with a smaller rate",
            )
    for node in graph.node:
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise ArtifactError(
                f"{node.name or node.op_type} ({node.op_type}) holds a graph of its own: labd takes no control flow",
                fix="export a forward() without branches or loops that depend on the input",
            )
        if not node.op_type or not any(node.output):
            raise ArtifactError(
                f"a node ({node.name or 'without a name'}) has no operation or no output", fix=AGAIN
            )


def name_nodes(model: onnx.ModelProto) -> Iterator[str]:
    """Give every node a name of its own: errors call nodes by name."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
    yield from ()


def gather_constants(model: onnx.ModelProto) -> Iterator[str]:
    """Make initializers of Constant nodes, and take initializers out of the inputs."""
    import numpy as np
    from onnx import numpy_helper

    for node in [node for node in model.graph.node if node.op_type == "Constant" and not node.domain]:
        attribute = next((each for each in node.attribute if each.name in _CONSTANT_KINDS), None)
        if attribute is None:
            raise ArtifactError(f"{node.name} (Constant) has a value that labd does not read", fix=AGAIN)
        if attribute.name == "value":
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(attribute.t)
            tensor.name = node.output[0]
            numpy_helper.to_array(tensor)
        else:
            kind = np.float32 if "float" in attribute.name else np.int64
            value = np.asarray(attributes_of(node)[attribute.name], kind)
            model.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        model.graph.node.remove(node)
    constants = {entry.name for entry in model.graph.initializer}
    both = [entry for entry in model.graph.input if entry.name in constants]
    for entry in both:
        model.graph.input.remove(entry)
    if both:
        yield f"constants listed as inputs: taken out of the inputs ({len(both)})"


def check_wires(model: onnx.ModelProto) -> Iterator[str]:
    """Refuse a second input and tensors that nobody or two nodes make; put the nodes in an order that can run."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    unused = [entry for entry in graph.input if entry.name not in used]
    if len(graph.input) > 1:
        for entry in unused:
            graph.input.remove(entry)
        if unused:
            yield f"inputs that nothing reads: left out ({named(entry.name for entry in unused)})"
    if len(graph.input) != 1:
        readers = {name: node for node in reversed(graph.node) for name in node.input}
        who = "; ".join(f"{each.name}, read by {readers[each.name].name}" for each in list(graph.input)[:3])
        raise ArtifactError(
            f"the network has {len(graph.input)} inputs{': ' if who else ''}{who}; labd takes one",
            fix="export it with one input, the image, and all weights as constants",
        )
    source = graph.input[0].name
    made = [name for node in graph.node for name in node.output if name]
    made += [source, *(entry.name for entry in graph.initializer)]
    if len(set(made)) != len(made):
        twice = next(name for name in made if made.count(name) > 1)
        raise ArtifactError(f"the tensor {twice} of the network is made twice", fix=AGAIN)
    there = set(made) | {""}
    for node in graph.node:
        for name in node.input:
            if name not in there:
                raise ArtifactError(
                    f"{node.name} ({node.op_type}) reads {name}, which no node makes; labd takes one input, {source}",
                    fix="export it again with one input and all weights inside the file",
                )
    for entry in graph.output:
        if entry.name not in there:
            raise ArtifactError(f"no node makes the output {entry.name} of the network", fix=AGAIN)
    yield from _in_order(graph)


def _in_order(graph: onnx.GraphProto) -> Iterator[str]:
    """Sort the nodes where one stands before what it reads; else leave them in their order."""
    known = {"", graph.input[0].name, *(entry.name for entry in graph.initializer)}
    readers: dict[str, list[int]] = {}
    missing = []
    for index, node in enumerate(graph.node):
        wanted = set(node.input) - known
        missing.append(len(wanted))
        for name in wanted:
            readers.setdefault(name, []).append(index)
    ready = [index for index, count in enumerate(missing) if not count]  # sorted, so a heap
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for name in graph.node[index].output:
            for reader in readers.get(name, []):
                missing[reader] -= 1
                if not missing[reader]:
                    heapq.heappush(ready, reader)
    if len(order) < len(missing):
        node = graph.node[next(index for index, count in enumerate(missing) if count)]
        raise ArtifactError(f"{node.name} ({node.op_type}) waits for its own result", fix=AGAIN)
    if order != sorted(order):
        copies = [
            type(graph.node[index]).FromString(graph.node[index].SerializeToString()) for index in order
        ]
        del graph.node[:]
        graph.node.extend(copies)
        yield "nodes that stood before what they read: sorted"


def read_pixels_as_numbers(model: onnx.ModelProto) -> Iterator[str]:
    """An input of the type uint8 becomes a float one that FINN knows as UINT8: pixels from 0 to 255 as they are."""
    from onnx import TensorProto

    entry = model.graph.input[0]
    kind = entry.type.tensor_type.elem_type
    if kind == TensorProto.FLOAT:
        return
    if kind != TensorProto.UINT8:
        known = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else str(kind)
        raise ArtifactError(
            f"the input {entry.name} is of type {known}; labd takes FLOAT or UINT8",
            fix="export it for a float input",
        )
    entry.type.tensor_type.elem_type = TensorProto.FLOAT
    note = model.graph.quantization_annotation.add(tensor_name=entry.name)
    note.quant_parameter_tensor_names.add(key="finn_datatype", value="UINT8")
    yield f"the input {entry.name} of type uint8: pixels from 0 to 255, as they are"


def drop_idle(model: onnx.ModelProto) -> Iterator[str]:
    """Drop what does nothing when a trained network runs: Identity, Dropout, a Cast from float to float."""
    from onnx import TensorProto

    wiring = Wiring(model.graph)
    dropped: dict[str, list[str]] = {}
    for node in list(model.graph.node):
        idle = not node.domain and (
            node.op_type == "Identity"
            or (node.op_type == "Dropout" and not any(name in wiring.readers for name in node.output[1:]))
            or (
                node.op_type == "Cast"
                and attributes_of(node).get("to") == TensorProto.FLOAT
                and _float(node, wiring)
            )
        )
        if idle and node.input and node.input[0] and wiring.bypass(node):
            dropped.setdefault(node.op_type, []).append(node.name)
    for op, names in dropped.items():
        yield f"{op}: without an effect, left out ({named(names)})"


def _float(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """Does *node* cast something that is float already?"""
    from onnx import TensorProto

    source = node.input[0]
    if source in wiring.constants:
        return bool(wiring.constants[source].data_type == TensorProto.FLOAT)
    maker = wiring.makers.get(source)
    return maker is None or maker.op_type not in (
        "Cast",
        "Shape",
        "ArgMax",
        "TopK",
        "Size",
        "Greater",
        "Less",
        "Equal",
    )


def read_bits(model: onnx.ModelProto) -> Iterator[str]:
    """Read a signed Quant of 1 bit as the bipolar quantiser, as qonnx does."""
    wiring = Wiring(model.graph)
    changed = []
    for node in model.graph.node:
        if node.domain != QONNX_DOMAIN or node.op_type != "Quant" or not attributes_of(node).get("signed", 1):
            continue
        zero, bits = (wiring.constant(name) for name in node.input[2:4])
        if bits is not None and zero is not None and (bits == 1).all() and not zero.any():
            node.op_type = "BipolarQuant"
            del node.input[2:]
            del node.attribute[:]
            changed.append(node.name)
    if changed:
        yield f"Quant of 1 bit with a sign: read as the bipolar quantiser ({named(changed)})"


def read_signs(model: onnx.ModelProto) -> Iterator[str]:
    """Read Sign as the bipolar quantiser, which makes +1 of a zero where Sign leaves 0."""
    import numpy as np
    from onnx import helper

    signs = [node for node in model.graph.node if node.op_type == "Sign" and not node.domain]
    if not signs:
        return
    wiring = Wiring(model.graph)
    one = wiring.add_constant("bipolar_scale", np.ones((), np.float32))
    zeros = 0
    for node in signs:
        value = wiring.constant(node.input[0])
        zeros += 0 if value is None else int((value == 0).sum())
        node.op_type, node.domain = "BipolarQuant", QONNX_DOMAIN
        node.input.append(one)
    if QONNX_DOMAIN not in [entry.domain for entry in model.opset_import]:
        model.opset_import.append(helper.make_opsetid(QONNX_DOMAIN, 1))
    ties = f"; {zeros} weights are exactly 0" if zeros else ""
    yield f"Sign: read as the bipolar quantiser, a value of exactly 0 becomes +1 ({named(n.name for n in signs)}){ties}"
