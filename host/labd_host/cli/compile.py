"""``labd compile``: a network through FINN, every stage proven against the one before it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from labd_host.flow import Compiled
    from labd_host.networks import Network

CLOCK_MHZ = 100.0  # what the shell is built for unless told otherwise


@click.command(name="compile")
@click.argument("network", metavar="NETWORK|MY.toml|MODEL.onnx")
@click.option("--folding", metavar="NAME|FILE", help="PE and SIMD: a preset (lab) or FINN's folding JSON.")
@click.option("--dataset", help="Real images for the proof come from here (default: the network's own).")
@click.option("--images", "count", type=click.IntRange(1, 1000),
              help="How many images every stage is compared on (default: 16, or 4 with convolutions).")  # fmt: skip
@click.option("--from", "start", metavar="STAGE",
              help="Make this stage and those behind it anew; without it, only what changed is made.")  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the stages, their proofs and pictures, and network.npz go.")  # fmt: skip
def compile_(
    network: str, folding: str | None, dataset: str | None, count: int | None, start: str | None, out: Path
) -> None:
    """Compile NETWORK (a name of the table, a network's own file, or an exported model) to a folded dataflow graph.

    Each stage of the FINN flow is saved and compared with the stage before it on real images:
    quantised activations, integer sums, logits and the class. A stage that changes a result ends
    the command and is named. Stages that an earlier run finished in DIR are used again where nothing
    that decides on them changed; the table says which.
    """
    from labd_host import datasets
    from labd_host.flow import MANY_IMAGES, compile_network, load_folding, proof_images
    from labd_host.flow.gallery import GALLERY_FILE, write_gallery

    name, model, entry = _model(network)
    if folding is None:
        raise UsageError(
            f"no folding was given for {name}", fix=f"labd compile {network} --folding lab -o {out}"
        )
    chosen = load_folding(folding, name)
    source = dataset or (entry.dataset if entry else None)
    if source is None:
        raise UsageError(
            f"{network} is not in the network table, so its data set is not known",
            fix=f"labd compile {network} --folding {folding} --dataset mnist -o {out}",
        )
    images, _ = datasets.load(source, "test")
    if (out / GALLERY_FILE).is_file():
        (out / GALLERY_FILE).unlink()  # a page about an earlier run must not outlive it
    compiled = compile_network(
        model,
        folding=chosen,
        out=out,
        images=images[: count or proof_images(entry.kind if entry else "cnv")],
        many_images=images[:MANY_IMAGES],
        start=start,
        say=lambda line: click.echo(line, err=True),
    )
    page = write_gallery(compiled, CLOCK_MHZ)
    _report(compiled)
    click.echo(f"every stage as a picture, explained: {page}")


def _model(network: str) -> tuple[str, Path, Network | None]:
    """Name (for presets), file and, if it is known, entry of what the user asked for."""
    from labd_host.networks import resolve

    model, entry = resolve(network)
    return entry.name if entry else model.stem, model, entry


def _report(compiled: Compiled) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_stage_table(compiled))
    console.print(_cycle_table(compiled))
    estimate = compiled.estimate
    rate = estimate.frames_per_s(CLOCK_MHZ)
    console.print(
        f"cycle model: {estimate.cycles_per_frame} cycles a frame, set by {estimate.bottleneck}: "
        f"{rate:,.0f} frames/s at {CLOCK_MHZ:g} MHz; first frame after at most {estimate.latency_cycles} cycles",
        soft_wrap=True,
    )
    layers = [node for node in estimate.nodes if node.op != "IODMA"]
    slowest = max(layers, key=lambda node: node.cycles)
    if slowest.name != estimate.bottleneck:
        alone = CLOCK_MHZ * 1e6 / slowest.cycles
        console.print(
            f"the DMA is the ceiling: the layers alone would reach {alone:,.0f} frames/s ({slowest.name}, "
            f"{slowest.cycles} cycles), and no folding moves the DMA",
            soft_wrap=True,
        )
    names = dict.fromkeys(stage.path.name for stage in compiled.stages)  # each once, in order
    console.print(
        f"files in {compiled.folder}: {', '.join(names)}, folding.json",
        soft_wrap=True,
    )


def _stage_table(compiled: Compiled) -> Table:
    from rich.table import Table

    from labd_host.flow.records import NOT_BEFORE

    table = Table("stage", "nodes", "compared with", "tensors", "values", "differ", "s", title="stages")
    again = any(stage.reused or stage.why != NOT_BEFORE for stage in compiled.stages)
    if again:
        table.add_column("made")
    for stage in compiled.stages:
        proof = stage.proof
        numbers = (
            (str(proof.tensors), f"{proof.elements:,}", str(proof.mismatches)) if proof.against else ("",) * 3
        )
        made = [f"again: {stage.why}" if stage.why else "before, used again"] if again else []
        table.add_row(stage.name, str(stage.nodes), proof.against, *numbers, f"{stage.seconds:.1f}", *made)
    many = [f", answers on {stage.proof.images}" for stage in compiled.stages if stage.name == "answers"]
    table.caption = f"on {compiled.stages[0].proof.images} images{''.join(many)}"
    return table


def _cycle_table(compiled: Compiled) -> Table:
    from rich.table import Table

    table = Table("node", "PE", "SIMD", "cycles", "", title="cycles a frame")
    for node in compiled.estimate.nodes:
        fold = compiled.folding.get(node.name, {})
        mark = "<- slowest" if node.name == compiled.estimate.bottleneck else ""
        table.add_row(node.name, str(fold.get("PE", "")), str(fold.get("SIMD", "")), str(node.cycles), mark)
    return table
