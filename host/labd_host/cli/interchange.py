"""``labd import`` and ``labd export``: designs between labd and FINN's own tools."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd_host.cli.clock_option import CLOCKS_MHZ
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.interchange.findings import Findings
    from labd_shared.manifest import Accuracy

DIR = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=DIR, metavar="BUNDLE", help="Where the bundle goes.")
@click.option("--network", default="", metavar="NAME", help="What the network is called.")
@click.option("--dataset", default="", metavar="NAME", help="What it classifies, for example mnist.")
@click.option("--board", default="", metavar="NAME", help="The board it was built for; Pynq-Z2.")
@click.option("--input", "inputs", multiple=True, metavar="TENSOR",
              help='Of a bare .bit: "DATATYPE NORMAL FOLDED DMA", as in "UINT8 1,784 1,16,49 idma0".')  # fmt: skip
@click.option("--output", "outputs", multiple=True, metavar="TENSOR",
              help='Of a bare .bit, as in "UINT8 1,1 1,1,1 odma0".')  # fmt: skip
@click.option("--hwh", type=FILE, metavar="FILE", help="Of a bare .bit, where its name differs.")
@click.option("--expected-cycles", type=click.IntRange(1), metavar="N", help="Cycles a frame, where known.")
@click.option("--clock-mhz", type=click.FloatRange(*CLOCKS_MHZ), metavar="MHZ",
              help="Another clock than the .hwh's, not above it.")  # fmt: skip
@click.option("--scale", type=float, help="The network sees pixel * scale + offset; raw pixels by default.")
@click.option("--offset", type=float, help="See --scale.")
@click.option("--accuracy", default="", metavar="PERCENT/SAMPLES", help="Measured before, as in 92.93/10000.")
@click.option("--network-file", type=FILE, metavar="network.npz",
              help="The golden model, of labd compile: it draws golden samples.")  # fmt: skip
@click.option("--zip", "as_zip", is_flag=True, help="Write the same as BUNDLE.zip, too.")
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
def import_(
    path: Path,
    out: Path,
    network: str,
    dataset: str,
    board: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    hwh: Path | None,
    expected_cycles: int | None,
    clock_mhz: float | None,
    scale: float | None,
    offset: float | None,
    accuracy: str,
    network_file: Path | None,
    as_zip: bool,
    as_json: bool,
) -> None:
    """Make a bundle of what others built: a FINN deploy folder, the notebook's .zip, a settings.json, a .bit.

    Nothing of it is executed; all that was checked, assumed or is in doubt is said.
    """
    from labd.built_bundle import bundle_line
    from labd_host.bundles.bundle_writer import zip_bundle
    from labd_host.interchange.import_options import ImportOptions
    from labd_host.interchange.importing import import_design
    from labd_host.interchange.tensor_option import parse_tensor_option

    options = ImportOptions(
        network=network,
        dataset=dataset,
        board=board,
        inputs=tuple(parse_tensor_option(text) for text in inputs),
        outputs=tuple(parse_tensor_option(text) for text in outputs),
        hwh=hwh,
        cycles=expected_cycles,
        clock_mhz=clock_mhz,
        scale=scale,
        offset=offset,
        accuracy=parse_accuracy(accuracy),
        network_file=network_file,
    )
    imported = import_design(path, out, options)
    archive = zip_bundle(imported.bundle, out.with_name(out.name + ".zip")) if as_zip else None
    if as_json:
        record = {"bundle": str(imported.bundle.folder), "findings": imported.findings.as_records()}
        click.echo(json.dumps(record, indent=2, sort_keys=True))
        return
    _table(imported.findings)
    click.echo(bundle_line(imported.bundle.manifest))
    click.echo(f"bundle: {imported.bundle.folder}")
    if archive:
        click.echo(f"zip: {archive}")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--format", "form", type=click.Choice(["finn", "finn-plus"]), required=True,
              help="Whose driver is to read it.")  # fmt: skip
@click.option("-o", "--out", required=True, type=DIR, metavar="DIR", help="A new or empty folder.")
def export(bundle: Path, form: str, out: Path) -> None:
    """Write BUNDLE as the folder that FINN's driver, or finn-plus-driver, expects."""
    from labd_host.interchange.exporting import export_bundle
    from labd_shared.bundle import open_bundle

    exported = export_bundle(open_bundle(bundle), out, form)
    _table(exported.findings)
    for name in exported.files:
        click.echo(name)
    click.echo(f"folder: {exported.folder}")
    if form == "finn-plus":
        click.echo(
            "on the board: finn-plus-driver -b bitfile/finn-accel.bit -s driver/settings.json -f throughput_test"
        )


def parse_accuracy(text: str) -> Accuracy | None:
    """``92.93/10000`` as an accuracy, None for "".

    Raises:
        UsageError: not of that form, or not between 0 and 100 %.
    """
    from labd_shared.manifest import Accuracy

    if not text:
        return None
    match = re.match(r"^(\d{1,3}(?:\.\d+)?)/([1-9]\d{0,8})$", text)
    if match is None or float(match.group(1)) > 100:
        raise UsageError(
            f"--accuracy {text} is no PERCENT/SAMPLES", fix="for example: --accuracy 92.93/10000"
        )
    return Accuracy(float(match.group(1)), int(match.group(2)), "test", "said at import")


def _table(findings: Findings) -> None:
    from rich.table import Table

    from labd.shown import terminal

    if not findings:
        return
    table = Table("", "what", "found", box=None, pad_edge=False, show_header=False)
    for finding in sorted(findings, key=lambda each: ("checked", "assumed", "doubt").index(each.kind)):
        table.add_row(finding.kind, finding.subject, finding.text)
    terminal(markup=False).print(table)
