"""``labd build`` and ``labd attach-network``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from labd_shared.bundle import Bundle

CLOCK_MHZ = 100.0  # the clock of FINN's PYNQ shells unless told otherwise


@click.command()
@click.argument("network", metavar="NETWORK|MY.toml")
@click.option("--target", type=click.Choice(["emu"]), required=True,
              help="What it is for: emu, a virtual board.")  # fmt: skip
@click.option("--folding", metavar="NAME|FILE", default="lab", show_default=True,
              help="PE and SIMD: a preset or FINN's folding JSON.")  # fmt: skip
@click.option("--model", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE.onnx",
              help="An export of NETWORK (default: the one that ships, or that you trained).")  # fmt: skip
@click.option("--clock-mhz", type=click.FloatRange(1.0, 250.0), default=CLOCK_MHZ, show_default=True,
              help="Clock of the accelerator.")  # fmt: skip
@click.option("--zip", "as_zip", is_flag=True, help="Write the same as DIR.zip, too.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
def build(
    network: str, target: str, folding: str, model: Path | None, clock_mhz: float, as_zip: bool, out: Path
) -> None:
    """Build a bundle of NETWORK, a name of the table (labd networks) or a network's own file."""
    from labd_host.hardware.build import build_emulation
    from labd_host.hardware.bundle import zip_bundle

    built = build_emulation(
        network,
        out,
        folding=folding,
        clock_mhz=clock_mhz,
        say=lambda line: click.echo(line, err=True),
        model=model,
    )
    click.echo(one_line(built.bundle))
    click.echo(f"bundle: {built.bundle.folder}")
    click.echo(f"stages: {built.compiled.folder}")
    if as_zip:
        click.echo(f"zip: {zip_bundle(built.bundle, out.with_name(out.name + '.zip'))}")


@click.command("attach-network")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("network", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle with the network goes.")  # fmt: skip
def attach_network(bundle: Path, network: Path, out: Path) -> None:
    """Add NETWORK, the network.npz of labd compile, to BUNDLE, so that a virtual board can run it."""
    from labd_host.hardware.bundle import attach_network as attach
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
    return f"{manifest.network}: {measured}; {speed}; target {manifest.target}"
