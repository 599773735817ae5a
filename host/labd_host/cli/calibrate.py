"""``labd calibrate``: learn from your own builds what Vivado makes of FINN's layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd.loading import WHAT, unfolded_chain
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.explore.calibration import Calibration, Sample


@click.command(name="calibrate")
@click.argument("reports", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="REPORTS...")
@click.option("--network", metavar=WHAT, help="What was built.")
@click.option(
    "--part", default=PYNQ_Z2_DEVICE, show_default=True, metavar="PART", help="What it was built for."
)
@click.option("--reset", is_flag=True, help="Forget what was learnt; first, where REPORTS are given, too.")
def calibrate(reports: tuple[Path, ...], network: str | None, part: str, reset: bool) -> None:
    """Fit the estimate of LUTs and flip-flops again, to REPORTS of finished builds.

    A report is the output folder of a FINN build with post_synth_resources.json (or Vivado's
    synth_report.xml) and final_hw_config.json. A report that was seen before is not counted again.
    """
    from labd_host.dataflow.parts import part_of
    from labd_host.explore import calibration
    from labd_host.explore.build_reports import read_build
    from labd_shared.files import write_text

    mine = calibration.users_file()
    if reset:
        mine.unlink(missing_ok=True)
        click.echo("estimates are those that ship again")
        if not reports:
            return
    if not reports or network is None:
        raise UsageError(
            "calibrating takes reports of builds and the network that was built",
            fix="labd calibrate BUILD_FOLDER --network tfc-w1a1",
        )
    design, device, before = unfolded_chain(network), part_of(part), calibration.load()
    builds = {build.digest: build for build in (read_build(path, device) for path in reports)}
    fresh = [build for digest, build in builds.items() if digest not in before.reports]
    for build in builds.values():
        if build not in fresh:
            click.echo(f"{build.name}: was seen before", err=True)
    if not fresh:
        click.echo("nothing new to learn")
        return
    samples = [sample for build in fresh for sample in build.samples(design)]
    source = f"{len(before.reports) + len(fresh)} of your own reports"
    after = calibration.with_reports(
        calibration.fitted(samples, before, source), (build.digest for build in fresh)
    )
    mine.parent.mkdir(parents=True, exist_ok=True)
    write_text(mine, calibration.to_json(after, {"by": "labd calibrate", "part": device.name}))
    _print(samples, before, after)
    click.echo(f"{mine}: learnt from {len(fresh)} builds, labd explore uses it")


def _print(samples: list[Sample], before: Calibration, after: Calibration) -> None:
    from rich.table import Table

    from labd.shown import terminal
    from labd_host.explore.calibration import lut_error

    table = Table("unit", "seen", "LUT off by, before", "now", title="mean error of the estimate", box=None,
                  title_justify="left", pad_edge=False)  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for kind in sorted({sample.kind for sample in samples}):
        found = [sample for sample in samples if sample.kind == kind]
        errors = (lut_error(known, found) for known in (before, after))
        table.add_row(kind, str(len(found)), *(f"{error:.0%}" for error in errors))
    terminal().print(table)
