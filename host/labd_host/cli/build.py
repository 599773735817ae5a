"""``labd build`` and ``labd attach-network``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from labd.loading import WHAT
from labd_host.cli.clock_option import CLOCKS_MHZ, clock_option
from labd_host.cli.completion import networks_or_files
from labd_host.cli.dataset_option import dataset_option
from labd_host.cli.folding_options import folding_options
from labd_host.cli.ignore_option import ignore_option
from labd_shared.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from labd.built_bundle import Bundle
    from labd.design import Design
    from labd.finn_build import FinnBuild
    from labd_host.dataflow.folding import FoldingSource
    from labd_host.networks import TrainedExport
    from labd_host.vivado.hardware_build import BuiltHardware, Options

HARDWARE_ONLY = "--jobs, --accept-timing and --silence-minutes"


@click.command()
@click.argument("what", metavar=f"{WHAT}|cfg.yaml|build.py", shell_complete=networks_or_files)
@click.argument("network_file", metavar="[MODEL.onnx]", required=False, shell_complete=networks_or_files)
@click.option("--target", type=click.Choice(["emu", "hw"]), default="emu", show_default=True,
              help="What it is for: emu, a virtual board; hw, a real one, which takes Vivado and hours.")  # fmt: skip
@folding_options
@click.option("--model", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE.onnx",
              help="An export of WHAT, a network (default: the one that ships, or that you trained).")  # fmt: skip
@dataset_option
@clock_option("Clock of the accelerator; whole MHz for hw.")
@click.option("--jobs", type=click.IntRange(1, 64), metavar="N",
              help="hw: Vivado and Vitis HLS runs at a time (default: what processors and memory allow).")  # fmt: skip
@click.option("--accept-timing", is_flag=True, help="hw: take a design that does not keep its timing.")
@ignore_option(
    "Go on although this check fails: halves or answers, of the proof; hw: those of labd doctor --for hw; fits."
)
@click.option("--silence-minutes", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="hw: give up when nothing was told or logged for so long (default: 60).")  # fmt: skip
@click.option("--zip", "as_zip", is_flag=True, help="Write the same as a .zip beside the folder.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle goes (default: build/NAME-TARGET).")  # fmt: skip
def build(
    what: str,
    network_file: str | None,
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

    A build configuration of FINN or finn-plus (cfg.yaml, cfg.json, build.py; the script is read, never run) is
    followed as well, for MODEL.onnx where it names no network; what labd does otherwise is printed, a line a
    field, and options win over it: docs/finn-config.md.

    The stages, their proofs and the gallery go beside the bundle, into its name with .stages.
    """
    from labd.built_bundle import Bundle
    from labd.design import Design, bundle_folder
    from labd.finn_build import FinnBuild
    from labd.folding_requests import chosen_folding
    from labd.loading import load, load_network
    from labd_host import flow
    from labd_host.bundles.bundle_writer import check_replaceable

    if target == "emu" and (accept_timing or jobs is not None or silence_minutes is not None):
        raise UsageError(f"{HARDWARE_ONLY} are for --target hw, this one is for emu", fix="leave them out")
    refolded = folding is not None or target_fps is not None
    found = load(what, dataset=dataset, model=network_file or model)
    if isinstance(found, FinnBuild):
        found.show()
        network, out = found.network, out or found.out
        if click.get_current_context().get_parameter_source("clock_mhz") is ParameterSource.DEFAULT:
            clock_mhz = _clock_of(found)
    elif network_file is not None:
        raise UsageError(
            f"{what} is not a build configuration, and {network_file} was given beside it",
            fix=f"labd build {network_file}, or --model for another export of a network",
        )
    elif isinstance(found, Design) and target == "emu" and not refolded and model is None:
        _tell(found.build(out=out), found, as_zip=as_zip)
        return
    else:
        network = load_network(what, dataset=dataset, model=model)
    if isinstance(found, FinnBuild) and not refolded:
        source = found.folding(clock_mhz=clock_mhz)
    else:
        source = chosen_folding(folding, target_fps, clock_mhz, network=network.name)
    folder = bundle_folder(network.name, target, out)
    check_replaceable(folder.absolute())  # now, not when all else is done
    stages = folder.with_name(folder.name + ".stages")
    if target == "hw":
        options = _options(clock_mhz, jobs, accept_timing, ignored, silence_minutes)
        if isinstance(found, FinnBuild) and found.verifies:
            proof = [name for name in ignored if name in flow.CHECKS]
            found.compile(
                source, clock_mhz=clock_mhz, ignored=proof, out=stages
            )  # before the hours, kept for them
        built = _build_hardware(network.export, folder, source, options)
        _tell(Bundle(built.bundle), network.design_of(built.compiled, clock_mhz), as_zip=as_zip)
        return
    either = found if isinstance(found, FinnBuild) else network
    design = either.compile(source, clock_mhz=clock_mhz, ignored=ignored, out=stages)
    _tell(design.build(out=folder), design, as_zip=as_zip)


def _tell(bundle: Bundle, design: Design, *, as_zip: bool) -> None:
    """What was built, and where it lies."""
    click.echo(bundle.summary())
    click.echo(f"bundle: {bundle.folder}")
    click.echo(f"stages: {design.folder}")
    click.echo(f"gallery: {design.gallery().path}")
    if as_zip:
        click.echo(f"zip: {bundle.zip()}")


def _clock_of(asked: FinnBuild) -> float:
    """The clock of a configuration, where labd builds for it."""
    low, high = CLOCKS_MHZ
    if not low <= asked.clock_mhz <= high:
        raise UsageError(
            f"{asked.path} asks for {asked.clock_mhz:g} MHz, labd builds for {low:g} to {high:g} MHz",
            fix=f"labd build {asked.path} --clock-mhz {high:g}",
        )
    return asked.clock_mhz


def _options(
    clock_mhz: float,
    jobs: int | None,
    accept_timing: bool,
    ignored: tuple[str, ...],
    silence_minutes: float | None,
) -> Options:
    from labd_host import flow
    from labd_host.vivado.build_needs import default_jobs
    from labd_host.vivado.followed_build import DEADLINES
    from labd_host.vivado.hardware_build import CHECKS, Options

    if clock_mhz != int(clock_mhz):
        raise UsageError(
            f"--clock-mhz {clock_mhz:g}: FINN builds for whole MHz", fix=f"--clock-mhz {int(clock_mhz)}"
        )
    for name in ignored:
        if name not in (*CHECKS, *flow.CHECKS):
            raise unknown_name("check", name, (*CHECKS, *flow.CHECKS))
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
