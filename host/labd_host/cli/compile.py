"""``labd compile``: a network through FINN, every stage proven against the one before it."""

from __future__ import annotations

from pathlib import Path

import click

from labd_host.cli.clock_option import clock_option
from labd_host.cli.completion import networks_or_files
from labd_host.cli.dataset_option import DATA
from labd_host.cli.folding_options import folding_options
from labd_host.cli.ignore_option import ignore_option


@click.command(name="compile")
@click.argument("network", metavar="NETWORK|MY.toml|MODEL.onnx", shell_complete=networks_or_files)
@folding_options
@clock_option("Clock of the accelerator, for frames a second.")
@click.option("--dataset", metavar="DATA",
              help=f"Real images for the proof (default: the network's own): {DATA}.")  # fmt: skip
@click.option("--images", "count", type=click.IntRange(1, 1000),
              help="How many images every stage is compared on (default: 100, or 4 with convolutions).")  # fmt: skip
@click.option("--from", "start", metavar="STAGE",
              help="Make this stage and those behind it again; without it, only what changed is made.")  # fmt: skip
@ignore_option("Go on although this check of the proof fails: halves, answers.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where stages, proofs, pictures and network.npz go (default: build/NETWORK.stages).")  # fmt: skip
def compile_(
    network: str,
    folding: str | None,
    target_fps: float | None,
    clock_mhz: float,
    dataset: str | None,
    count: int | None,
    start: str | None,
    ignored: tuple[str, ...],
    out: Path | None,
) -> None:
    """Compile NETWORK (a name of the table, a network's own file, or an exported model) to a folded dataflow graph.

    Each stage of the FINN flow is saved and compared with the stage before it on real images:
    quantised activations, integer sums, logits and the class. A stage that changes a result ends
    the command and is named. Stages that an earlier run finished are used again where nothing
    that decides on them changed; the table says which.
    """
    from labd.loading import load_network
    from labd.shown import terminal

    design = load_network(network, dataset=dataset or "").compile(
        folding,
        target_fps=target_fps,
        clock_mhz=clock_mhz,
        images=count,
        start=start,
        ignored=ignored,
        out=out,
    )
    console = terminal()
    design.show(console)
    console.print(f"files in {design.folder}: {', '.join(design.files)}", soft_wrap=True)
    click.echo(f"every stage as a picture, explained: {design.gallery().path}")
