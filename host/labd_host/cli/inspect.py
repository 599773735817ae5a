"""``labd inspect``: what a file is, without trusting it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labd_host.interchange.driver_file import DRIVER
from labd_host.interchange.settings_file import SETTINGS
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_shared.tensors import Tensor

KINDS = "name a bundle, a deploy folder, a .bit, .hwh, .onnx, settings.json, driver.py or network.npz"


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Show PATH: a bundle or a FINN deploy package (folder or .zip), a .bit, .hwh, .onnx, settings.json, driver.py
    or network.npz."""
    facts = facts_of(path)
    if as_json:
        click.echo(json.dumps(facts, indent=2, sort_keys=True))
        return
    for key, value in facts.items():
        click.echo(f"{key:14} {_plain(value)}")


def facts_of(path: Path) -> dict[str, Any]:
    """What *path* says of itself, JSON-able.

    Raises:
        UsageError: no such file, or a kind labd does not know.
        ArtifactError: it is damaged.
    """
    if not path.exists():
        raise UsageError(f"there is no {path}", fix=KINDS)
    if path.suffix == ".bit":
        return _bit(path)
    if path.suffix == ".hwh":
        return _hwh(path)
    if path.suffix == ".npz":
        return _network(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.name in (SETTINGS, DRIVER):
        return _package(path)
    if path.is_dir() or path.suffix == ".zip":
        return _bundle(path) if _has_manifest(path) else _package_or_bundle(path)
    raise UsageError(f"{path.name} is of no kind labd knows", fix=KINDS)


def _has_manifest(path: Path) -> bool:
    from labd_shared.manifest import MANIFEST_NAME

    if path.is_dir():
        return (path / MANIFEST_NAME).is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST_NAME in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return True  # open_bundle says what is wrong with it


def _package_or_bundle(path: Path) -> dict[str, Any]:
    from labd_host.interchange.package import NoPackage

    try:
        return _package(path)
    except NoPackage:
        return _bundle(path)


def _package(path: Path) -> dict[str, Any]:
    from labd_host.interchange.design_files import read_design
    from labd_host.interchange.import_options import ImportOptions

    design = read_design(path, ImportOptions())
    return {
        "package": str(path),
        "bitfile": design.package.bit,
        "hwh": design.package.hwh,
        "description": design.package.description,
        "part": design.hwh.part,
        "clock_mhz": design.clock.fclk0_mhz,
        "inputs": [_tensor_line(each) for each in design.shapes.inputs],
        "outputs": [_tensor_line(each) for each in design.shapes.outputs],
        "findings": design.findings.as_records(),
    }


def _onnx(path: Path) -> dict[str, Any]:
    from collections import Counter

    from labd_host.exports.onnx_file import READ_AS, load_onnx

    model = load_onnx(path)
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    told = (_text(each.value) for each in model.metadata_props if each.key == READ_AS)
    notes = [line for text in told for line in text.splitlines()]
    operators = Counter(_text(node.op_type) for node in graph.node)
    return {
        "onnx": str(path),
        "producer": f"{_text(model.producer_name)} {_text(model.producer_version)}".strip(),
        "opsets": {_text(entry.domain) or "ai.onnx": entry.version for entry in model.opset_import},
        "nodes": len(graph.node),
        "operators": dict(sorted(operators.items())),
        "inputs": [_value_line(each) for each in graph.input if each.name not in weights],
        "outputs": [_value_line(each) for each in graph.output],
        **({"read_as": notes} if notes else {}),
    }


def _value_line(value: Any) -> str:
    """An input or output of an ONNX graph: name, element type, shape."""
    import onnx

    tensor = value.type.tensor_type
    kinds = onnx.TensorProto.DataType
    kind = kinds.Name(tensor.elem_type) if tensor.elem_type in kinds.values() else f"type {tensor.elem_type}"
    shape = [_text(axis.dim_param) or axis.dim_value for axis in tensor.shape.dim]
    return f"{_text(value.name)} {kind} {shape}"


def _text(value: str | bytes) -> str:
    """A text of a protobuf; one that is no UTF-8 comes as bytes."""
    return value if isinstance(value, str) else repr(value)


def _tensor_line(tensor: Tensor) -> str:
    return (
        f"{tensor.name} {tensor.datatype.name} {list(tensor.normal)} folded {list(tensor.folded)} "
        f"packed {list(tensor.packed)} by {tensor.dma}"
    )


def _bundle(path: Path) -> dict[str, Any]:
    from labd_shared.bundle import load_golden, open_bundle

    bundle = open_bundle(path)
    golden = load_golden(bundle)
    record: dict[str, Any] = json.loads(bundle.manifest.to_json())
    record["golden samples"] = len(golden.images)
    record["predictions"] = len(golden.digests)
    return {"bundle": str(path), **record}


def _bit(path: Path) -> dict[str, Any]:
    from labd_shared.bitfile import read_bit

    bit = read_bit(path)
    facts = {key: value for key, value in bit._asdict().items() if key != "data"}
    return {"bitfile": str(path), **facts, "idcode": f"{bit.idcode:#010x}", "bytes": len(bit.data),
            "network": bit.network_sha256() or "none: a bitfile for hardware"}  # fmt: skip


def _hwh(path: Path) -> dict[str, Any]:
    from labd_shared.hwh import read_hwh

    hwh = read_hwh(path)
    blocks = {name: f"{block.base:#010x}, {block.size} bytes" for name, block in hwh.blocks.items()}
    return {"hwh": str(path), "part": hwh.part, "clocks_mhz": list(hwh.clocks_mhz), "blocks": blocks}


def _network(path: Path) -> dict[str, Any]:
    from labd_host.dataflow.cycles import estimate
    from labd_host.golden.golden_model import GoldenModel

    model = GoldenModel.load(path)
    cycles = estimate(model.network.layers, model.inputs, model.outputs)
    return {
        "network": str(path),
        "layers": [layer.name for layer in model.network.layers],
        "inputs": [f"{each.name} {each.datatype.name} {list(each.normal)}" for each in model.inputs],
        "outputs": [f"{each.name} {each.datatype.name} {list(each.normal)}" for each in model.outputs],
        "cycles_per_frame": cycles.cycles_per_frame,
        "bottleneck": cycles.bottleneck,
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {_plain(key):20} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "".join(f"\n  {json.dumps(item, sort_keys=True)}" for item in value)
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return "".join(each if each.isprintable() else "?" for each in str(value))
