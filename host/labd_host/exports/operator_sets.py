"""Operator sets of an export: found by domain, QONNX's domain under its name of today, old sets raised.

Every function changes the model and yields a line for each change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from labd_host.exports.onnx_file import AGAIN, MAX_NODES, QONNX_DOMAIN
from labd_host.exports.wiring import Wiring, attributes_of, named, set_attribute
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

LOWEST = 12  # the oldest set that labd works with: QONNX's operators are written in it, FINN's own networks have it
OLDEST = 7  # older ones broadcast by attributes
_MIN_IR = 8  # the first format whose models may define functions
_OLD_DOMAINS = ("onnx.brevitas", "finn.custom_op.general", "")
_QONNX_OPERATORS = frozenset(
    [
        "BipolarQuant",
        "FloatQuant",
        "Im2Col",
        "IntQuant",
        "MaxPoolNHWC",
        "MultiThreshold",
        "Quant",
        "QuantAvgPool2d",
        "Trunc",
        "XnorPopcountMatMul",
    ]
)
_HARDWARE = "finn.custom_op.fpgadataflow"
_INPUTS = {"BipolarQuant": 2, "MultiThreshold": 2, "Quant": 4, "XnorPopcountMatMul": 2}
_NEEDED = {"Quant": ("signed", "narrow"), "MultiThreshold": ("out_dtype",)}
_SMALL = 64  # values of a constant that a conversion may want to look at


def inline_functions(model: onnx.ModelProto) -> Iterator[str]:
    """Put the nodes of the file's own functions in their place; a body of a QONNX operator is left out."""
    from onnx import inliner

    for function in list(model.functions):
        if function.domain in (QONNX_DOMAIN, *_OLD_DOMAINS) and function.name in _QONNX_OPERATORS:
            model.functions.remove(function)
    if not model.functions:
        return
    if (whole := _nodes_when_inlined(model)) > MAX_NODES:
        raise ArtifactError(
            f"the file's functions hold {whole} nodes or more when written out, more than {MAX_NODES}",
            fix="choose a smaller network",
        )
    names = [function.name for function in model.functions]
    model.CopyFrom(inliner.inline_local_functions(model))
    yield f"functions of the file ({named(names)}): their nodes are put in their place"


def _nodes_when_inlined(model: onnx.ModelProto) -> int:
    """How many nodes there are without functions, counted up to just above MAX_NODES; so many in a circle as well."""
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto]) -> int:
        return min(sum(sizes.get((node.domain, node.op_type), 1) for node in nodes), MAX_NODES + 1)

    written = sum(len(function.node) for function in model.functions)
    if written > MAX_NODES:
        return written
    for _ in range(len(model.functions) + 1):
        new = {(each.domain, each.name): size(each.node) for each in model.functions}
        if new == sizes:
            return size(model.graph.node)
        sizes.update(new)
    return MAX_NODES + 1


def sort_operator_sets(model: onnx.ModelProto) -> Iterator[str]:
    """List the standard operator set first, each set once; QONNX's under its name of today."""
    from onnx import helper

    changed = [
        node for node in model.graph.node if node.domain in _OLD_DOMAINS and node.op_type in _QONNX_OPERATORS
    ]
    for old in _OLD_DOMAINS:
        renamed = [node for node in changed if node.domain == old]
        if renamed:
            called = f"of the domain {old}" if old else "without a domain"
            yield f"operators {called}: {QONNX_DOMAIN} ({len(renamed)} nodes)"
        for node in renamed:
            node.domain = QONNX_DOMAIN
    for node in model.graph.node:
        if node.domain == "ai.onnx":
            node.domain = ""
        if node.domain == QONNX_DOMAIN and node.op_type == "IntQuant":
            node.op_type = "Quant"
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.get(domain, entry.version) != entry.version:
            raise ArtifactError(
                f"the file lists the operator set {domain or 'ai.onnx'} as {versions[domain]} and as {entry.version}",
                fix=AGAIN,
            )
        versions[domain] = entry.version
    if "" not in versions:
        versions[""] = _version_of_format(model.ir_version)
        yield f"no standard operator set listed: {versions['']} is taken, which came with format {model.ir_version}"
    elif model.opset_import[0].domain not in ("", "ai.onnx"):
        yield f"operator set {model.opset_import[0].domain} listed first: the standard one is found by its name"
    if any(node.domain == QONNX_DOMAIN for node in model.graph.node) and QONNX_DOMAIN not in versions:
        versions[QONNX_DOMAIN] = 1
        if not changed:
            yield f"operator set {QONNX_DOMAIN} not listed: added"
    used = {node.domain for node in model.graph.node} | {"", QONNX_DOMAIN}
    listed = sorted(domain for domain in versions if domain in used)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, versions[domain]) for domain in listed)
    model.ir_version = max(model.ir_version, _MIN_IR)


def check_operators(model: onnx.ModelProto) -> Iterator[str]:
    """Refuse operators of other sets than ONNX's and QONNX's, and QONNX's with another number of inputs.

    Raises:
        ArtifactError: naming the node.
    """
    from onnx import defs

    for node in model.graph.node:
        if node.domain.startswith(_HARDWARE):
            raise ArtifactError(
                f"{node.name} ({node.op_type}) is a hardware layer of FINN's: the file is a later stage, not an export",
                fix="give the network that it was made from",
            )
        if node.domain not in ("", QONNX_DOMAIN) or (node.domain and defs.has(node.op_type)):
            raise ArtifactError(
                f"{node.name} ({node.op_type}) is an operator of the set {node.domain}, labd reads ONNX's and QONNX's",
                fix="export the network with brevitas.export.export_qonnx",
            )
        if node.domain == QONNX_DOMAIN:
            _check_form(node)
    yield from ()


def _check_form(node: onnx.NodeProto) -> None:
    """Refuse an operator of QONNX's with another number of inputs, or without an attribute that it needs."""
    wanted = _INPUTS.get(node.op_type, len(node.input))
    if len(node.input) != wanted or not all(node.input):
        raise ArtifactError(
            f"{node.name} ({node.op_type}) has {len(node.input)} inputs, {wanted} are wanted", fix=AGAIN
        )
    missing = [key for key in _NEEDED.get(node.op_type, ()) if key not in attributes_of(node)]
    if missing:
        raise ArtifactError(f"{node.name} ({node.op_type}) has no attribute {missing[0]}", fix=AGAIN)


def standard_version(model: onnx.ModelProto) -> int:
    """The version of the standard operator set."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def _version_of_format(ir_version: int) -> int:
    from onnx import helper

    found = [row[2] for row in helper.VERSION_TABLE if row[1] == ir_version]
    return min(found, default=LOWEST)


def raise_operator_set(model: onnx.ModelProto) -> Iterator[str]:
    """Write the nodes of an operator set below LOWEST as LOWEST has them; QONNX's own nodes stay as they are.

    ONNX's converter does not know QONNX's operators, so each standard node is converted for itself.
    """
    from onnx import defs

    version, newest = standard_version(model), defs.onnx_opset_version()
    if not OLDEST <= version <= newest:
        raise ArtifactError(
            f"the network is written in operator set {version}, labd reads sets from {OLDEST} to {newest}",
            fix="export it again with opset_version=18",
        )
    if version >= LOWEST:
        return
    wiring, nodes = Wiring(model.graph), []
    for node in model.graph.node:
        nodes += _raised(node, version, wiring) if _changed_since(node, version) else [node]
    made: list[onnx.NodeProto] = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(made)
    model.opset_import[0].version = LOWEST
    yield f"operator set {version}: raised to {LOWEST}"


def _changed_since(node: onnx.NodeProto, version: int) -> bool:
    from onnx import defs

    if node.domain or not defs.has(node.op_type):
        return False
    try:
        was = defs.get_schema(node.op_type, version, "").since_version
        now = defs.get_schema(node.op_type, LOWEST, "").since_version
    except defs.SchemaError:  # it left the standard, or came later than this set
        return str(node.op_type) == "Upsample"
    return bool(was != now)


def _raised(node: onnx.NodeProto, version: int, wiring: Wiring) -> list[onnx.NodeProto]:
    """The nodes that *node* becomes in LOWEST; constants that they need are added to the graph."""
    from onnx import TensorProto, helper, numpy_helper, version_converter

    ends = [name for name in dict.fromkeys(node.input) if name]
    small = [name for name in ends if name in wiring.constants and _few(wiring.constants[name])]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends if name not in small],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output if name],
        [wiring.constants[name] for name in small],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=_MIN_IR)
    try:
        raised = version_converter.convert_version(model, LOWEST).graph
    except (RuntimeError, version_converter.ConvertError) as error:
        raise ArtifactError(
            f"{node.name} ({node.op_type}) of operator set {version} cannot be raised to {LOWEST}: {error}",
            fix="export it again with opset_version=18",
        ) from error
    new_names: dict[str, str] = {}
    for constant in raised.initializer:
        if constant.name not in ends:
            value = numpy_helper.to_array(constant)
            new_names[constant.name] = wiring.add_constant(f"{node.name}{constant.name}", value)
    found = []
    for made in raised.node:
        if made.op_type == "Constant":
            value = numpy_helper.to_array(made.attribute[0].t)
            new_names[made.output[0]] = wiring.add_constant(f"{node.name}{made.output[0]}", value)
            continue
        for place, name in enumerate(made.input):
            made.input[place] = new_names.get(name, name)
        made.name = node.name if made.op_type == raised.node[-1].op_type else f"{node.name}{made.op_type}"
        _keep_meaning(node, made)
        found.append(made)
    return found


def _keep_meaning(node: onnx.NodeProto, made: onnx.NodeProto) -> None:
    """What the converter forgets: before set 11 a Resize took the pixel to the left of a place."""
    if made.op_type == "Resize" and "coordinate_transformation_mode" not in attributes_of(node):
        set_attribute(made, "coordinate_transformation_mode", "asymmetric")
        set_attribute(made, "nearest_mode", "floor")


def _few(tensor: onnx.TensorProto) -> bool:
    values = 1
    for axis in tensor.dims:
        values *= max(axis, 0)
    return values <= _SMALL
