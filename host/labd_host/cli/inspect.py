"""``labd inspect``: what a file is, without trusting it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from labd_shared.errors import UsageError


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Show PATH: a bundle (folder or .zip), a .bit, a .hwh or a network.npz."""
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
        raise UsageError(f"there is no {path}", fix="name a bundle, .bit, .hwh or network.npz")
    if path.suffix == ".bit":
        return _bit(path)
    if path.suffix == ".hwh":
        return _hwh(path)
    if path.suffix == ".npz":
        return _network(path)
    if path.is_dir() or path.suffix == ".zip":
        return _bundle(path)
    raise UsageError(f"{path.name} is of no kind labd knows", fix="name a bundle, .bit, .hwh or network.npz")


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
    from labd_host.emulation.golden import GoldenModel
    from labd_host.explore.cycles import estimate

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
        return "".join(f"\n  {key:20} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "".join(f"\n  {json.dumps(item, sort_keys=True)}" for item in value)
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
