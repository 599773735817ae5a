"""``labd build`` and ``labd attach-network``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd_host.cli.clock_option import clock_option
from labd_host.cli.foldings import folding_options, folding_source
from labd_shared.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from labd_host.bundles.emulation_build import Built
    from labd_host.dataflow.folding import FoldingSource
    from labd_host.vivado.hardware_build import BuiltHardware, Options
    from labd_shared.bundle import Bundle

LAB = "lab"


@click.command()
@click.argument("network", metavar="NETWORK|MY.toml")
@click.option("--target", type=click.Choice(["emu", "hw"]), required=True,
              help="What it is for: emu, a virtual board; hw, a real one, which takes Vivado and hours.")  # fmt: skip
@folding_options
@click.option("--model", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE.onnx",
              help="An export of NETWORK (default: the one that ships, or that you trained).")  # fmt: skip
@clock_option("Clock of the accelerator; whole MHz for hw.")
@click.option("--jobs", type=click.IntRange(1, 64), metavar="N",
              help="hw: Vivado and Vitis HLS runs at a time (default: what processors and memory allow).")  # fmt: skip
@click.option("--accept-timing", is_flag=True, help="hw: take a design that does not keep its timing.")
@click.option("--although", multiple=True, metavar="CHECK",
              help="hw: build although this check fails (labd doctor --for hw names them; and fits).")  # fmt: skip
@click.option("--silence-minutes", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="hw: give up when nothing was told or logged for so long (default: 60).")  # fmt: skip
@click.option("--zip", "as_zip", is_flag=True, help="Write the same as DIR.zip, too.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle goes.")  # fmt: skip
def build(
    network: str,
    target: str,
    folding: str | None,
    target_fps: float | None,
    model: Path | None,
    clock_mhz: float,
    jobs: int | None,
    accept_timing: bool,
    although: tuple[str, ...],
    silence_minutes: float | None,
    as_zip: bool,
    out: Path,
) -> None:
    """Build a bundle of NETWORK, a name of the table (labd networks) or a network's own file.

    Without --folding and --target-fps it is folded as the lab course begins, where there is such a folding.
    """
    from labd_host import networks
    from labd_host.bundles.bundle_writer import zip_bundle
    from labd_host.bundles.emulation_build import build_emulation
    from labd_host.dataflow.design import design_of
    from labd_host.dataflow.presets import PRESETS

    built: Built | BuiltHardware
    entry = networks.network(network)
    if folding is None and target_fps is None and LAB in PRESETS.get(entry.name, {}):
        folding = LAB
    source = folding_source(
        folding,
        target_fps,
        clock_mhz,
        network=entry.name,
        command=f"labd build {network} --target {target}",
        out=out,
    )
    design_of(entry).folded(source)  # before FINN, which takes minutes to refuse it
    if target == "emu":
        if accept_timing or although or jobs is not None or silence_minutes is not None:
            raise UsageError(
                "--jobs, --accept-timing, --although and --silence-minutes are for --target hw, this one is for emu",
                fix="leave them out",
            )
        built = build_emulation(network, out, folding=source, clock_mhz=clock_mhz, say=_say, model=model)
    else:
        built = _build_hardware(
            network, out, source, model, _options(clock_mhz, jobs, accept_timing, although, silence_minutes)
        )
    click.echo(one_line(built.bundle))
    click.echo(f"bundle: {built.bundle.folder}")
    click.echo(f"stages: {built.compiled.folder}")
    if as_zip:
        click.echo(f"zip: {zip_bundle(built.bundle, out.with_name(out.name + '.zip'))}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _options(
    clock_mhz: float,
    jobs: int | None,
    accept_timing: bool,
    although: tuple[str, ...],
    silence_minutes: float | None,
) -> Options:
    from labd_host.vivado.build_needs import default_jobs
    from labd_host.vivado.followed_build import Deadlines
    from labd_host.vivado.hardware_build import CHECKS, Options

    if clock_mhz != int(clock_mhz):
        raise UsageError(
            f"--clock-mhz {clock_mhz:g}: FINN builds for whole MHz", fix=f"--clock-mhz {int(clock_mhz)}"
        )
    for name in although:
        if name not in CHECKS:
            raise unknown_name("check", name, CHECKS)
    deadlines = Deadlines() if silence_minutes is None else Deadlines(silence_s=60 * silence_minutes)
    return Options(int(clock_mhz), jobs or default_jobs(), accept_timing, although, deadlines)


def _build_hardware(
    network: str, out: Path, folding: FoldingSource, model: Path | None, options: Options
) -> BuiltHardware:
    """Run the build, showing how it stands on standard error; then the resources, on standard output."""
    from rich.console import Console

    from labd_host.vivado.build_progress import Standing, resources_table, timing_line
    from labd_host.vivado.hardware_build import build_hardware

    with Standing(Console(stderr=True, highlight=False)) as standing:
        try:
            built = build_hardware(
                network,
                out,
                folding=folding,
                options=options,
                say=standing.say,
                tell=standing.tell,
                model=model,
            )
        except KeyboardInterrupt:
            standing.say("everything that was started is ended; the same command goes on where this one was")
            raise
    console = Console(highlight=False, markup=False)
    console.print(resources_table(built.estimate, built.design.resources))
    console.print(timing_line(built.design.timing, built.design.clock.accelerator_mhz), soft_wrap=True)
    for sentence in built.accepted:
        console.print(f"accepted: {sentence}", soft_wrap=True)
    return built


@click.command("attach-network")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("network", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle with the network goes.")  # fmt: skip
def attach_network(bundle: Path, network: Path, out: Path) -> None:
    """Add NETWORK, the network.npz of labd compile, to BUNDLE, so that a virtual board can run it."""
    from labd_host.bundles.bundle_writer import attach_network as attach
    from labd_shared.bundle import open_bundle

    made = attach(open_bundle(bundle), network, out)
    click.echo(one_line(made))
    click.echo(f"bundle: {made.folder}")


def one_line(bundle: Bundle) -> str:
    """What a bundle is, in a line."""
    manifest = bundle.manifest
    accuracy = manifest.accuracy
    measured = (
        f"{accuracy.top1_percent:.2f} % on {accuracy.samples} {accuracy.split} images of {manifest.dataset} "
        f"({accuracy.measured_by})"
        if accuracy
        else "accuracy not measured"
    )
    expected = manifest.expected
    speed = (
        f"{expected.cycles_per_frame} cycles a frame, {expected.frames_per_s:,.0f} frames/s "
        f"at {manifest.clock_mhz:g} MHz (cycle model, bound by {expected.bottleneck})"
        if expected.known
        else f"{expected.cycles_per_frame} cycles a frame or more, {manifest.clock_mhz:g} MHz (network unknown)"
    )
    slack = f", {slack_words(manifest.slack_ns)}" if manifest.slack_ns is not None else ""
    return f"{manifest.network}: {measured}; {speed}; target {manifest.target}{slack}"


def slack_words(slack_ns: float) -> str:
    """What a slack means."""
    return f"slack {slack_ns:g} ns" if slack_ns >= 0 else f"TIMING NOT MET, slack {slack_ns:g} ns"
