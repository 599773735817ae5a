"""``labd build`` and ``labd attach-network``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd.loading import WHAT
from labd_host.cli.clock_option import clock_option
from labd_host.cli.completion import networks_or_files
from labd_host.cli.folding_options import folding_options
from labd_shared.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from labd_host.dataflow.folding import FoldingSource
    from labd_host.networks import TrainedExport
    from labd_host.vivado.hardware_build import BuiltHardware, Options

HARDWARE_ONLY = "--jobs, --accept-timing, --ignore-check and --silence-minutes"


@click.command()
@click.argument("what", metavar=WHAT, shell_complete=networks_or_files)
@click.option("--target", type=click.Choice(["emu", "hw"]), default="emu", show_default=True,
              help="What it is for: emu, a virtual board; hw, a real one, which takes Vivado and hours.")  # fmt: skip
@folding_options
@click.option("--model", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE.onnx",
              help="An export of WHAT, a network (default: the one that ships, or that you trained).")  # fmt: skip
@click.option("--dataset", default="", help="What a MODEL.onnx that labd does not know was trained for.")
@clock_option("Clock of the accelerator; whole MHz for hw.")
@click.option("--jobs", type=click.IntRange(1, 64), metavar="N",
              help="hw: Vivado and Vitis HLS runs at a time (default: what processors and memory allow).")  # fmt: skip
@click.option("--accept-timing", is_flag=True, help="hw: take a design that does not keep its timing.")
@click.option("--ignore-check", "--although", "ignored", multiple=True, metavar="CHECK",
              help="hw: build although this check fails (labd doctor --for hw names them; and fits).")  # fmt: skip
@click.option("--silence-minutes", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="hw: give up when nothing was told or logged for so long (default: 60).")  # fmt: skip
@click.option("--zip", "as_zip", is_flag=True, help="Write the same as a .zip beside the folder.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle goes (default: build/NAME-TARGET).")  # fmt: skip
def build(
    what: str,
    target: str,
    folding: str | None,
    target_fps: float | None,
    model: Path | None,
    dataset: str,
    clock_mhz: float,
    jobs: int | None,
    accept_timing: bool,
    ignored: tuple[str, ...],
    silence_minutes: float | None,
    as_zip: bool,
    out: Path | None,
) -> None:
    """Build a bundle of WHAT: a network's name (labd networks) or own file, an exported model, or a compiled folder.

    The stages, their proofs and the gallery go beside the bundle, into its name with .stages.
    """
    from labd.built_bundle import Bundle
    from labd.design import Design, bundle_folder
    from labd.folding_requests import chosen_folding
    from labd.loading import load, load_network

    if target == "emu" and (accept_timing or ignored or jobs is not None or silence_minutes is not None):
        raise UsageError(f"{HARDWARE_ONLY} are for --target hw, this one is for emu", fix="leave them out")
    refolded = folding is not None or target_fps is not None or model is not None
    found = load(what, dataset=dataset)
    if isinstance(found, Design) and target == "emu" and not refolded:
        design = found
        bundle = design.build(out=out)
    else:
        network = load_network(what, dataset=dataset, model=model)
        folder = bundle_folder(network.name, target, out)
        if target == "hw":
            source = chosen_folding(folding, target_fps, clock_mhz, network=network.name)
            options = _options(clock_mhz, jobs, accept_timing, ignored, silence_minutes)
            built = _build_hardware(network.export, folder, source, options)
            bundle, design = Bundle(built.bundle), network.design_of(built.compiled, clock_mhz)
        else:
            stages = folder.with_name(folder.name + ".stages")
            design = network.compile(folding, target_fps=target_fps, clock_mhz=clock_mhz, out=stages)
            bundle = design.build(out=folder)
    click.echo(bundle.summary())
    click.echo(f"bundle: {bundle.folder}")
    click.echo(f"stages: {design.folder}")
    click.echo(f"gallery: {design.gallery().path}")
    if as_zip:
        click.echo(f"zip: {bundle.zip()}")


def _options(
    clock_mhz: float,
    jobs: int | None,
    accept_timing: bool,
    ignored: tuple[str, ...],
    silence_minutes: float | None,
) -> Options:
    from labd_host.vivado.build_needs import default_jobs
    from labd_host.vivado.followed_build import DEADLINES
    from labd_host.vivado.hardware_build import CHECKS, Options

    if clock_mhz != int(clock_mhz):
        raise UsageError(
            f"--clock-mhz {clock_mhz:g}: FINN builds for whole MHz", fix=f"--clock-mhz {int(clock_mhz)}"
        )
    for name in ignored:
        if name not in CHECKS:
            raise unknown_name("check", name, CHECKS)
    deadlines = DEADLINES if silence_minutes is None else replace(DEADLINES, silence_s=60 * silence_minutes)
    return Options(int(clock_mhz), jobs or default_jobs(), accept_timing, ignored, deadlines)


def _build_hardware(
    export: TrainedExport, out: Path, folding: FoldingSource, options: Options
) -> BuiltHardware:
    """Run the build, showing how it stands on standard error; then the resources, on standard output."""
    from labd.progress import shown
    from labd.shown import terminal
    from labd_host.vivado.build_tables import resources_table, timing_line
    from labd_host.vivado.hardware_build import build_hardware

    with shown() as listener:
        try:
            built = build_hardware(export, out, folding=folding, options=options, listener=listener)
        except KeyboardInterrupt:
            listener.say("All tools stopped. Run the same command again to resume.")
            raise
    console = terminal()
    console.print(resources_table(built.estimate, built.design.resources))
    console.print(timing_line(built.design.timing, built.design.clock.accelerator_mhz), soft_wrap=True)
    for sentence in built.accepted:
        console.print(f"accepted: {sentence}", soft_wrap=True, markup=False)
    return built


@click.command("attach-network")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("network", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle with the network goes.")  # fmt: skip
def attach_network(bundle: Path, network: Path, out: Path) -> None:
    """Add NETWORK, the network.npz of labd compile, to BUNDLE, so that a virtual board can run it."""
    from labd.built_bundle import Bundle
    from labd_host.bundles.bundle_writer import attach_network as attach
    from labd_shared.bundle import open_bundle

    made = Bundle(attach(open_bundle(bundle), network, out))
    click.echo(made.summary())
    click.echo(f"bundle: {made.folder}")
