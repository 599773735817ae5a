"""``labd compile``: a network through FINN, every stage proven against the one before it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd_host.cli.clock_option import clock_option
from labd_host.cli.foldings import folding_options, folding_source
from labd_shared.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from labd_host.flow import CompiledNetwork, Cost
    from labd_host.networks import Network

SUFFIX = ".onnx"  # of what is a file, and no name of the table


@click.command(name="compile")
@click.argument("network", metavar="NETWORK|MY.toml|MODEL.onnx")
@folding_options
@clock_option("Clock of the accelerator, for frames a second.")
@click.option("--dataset", help="Real images for the proof come from here (default: the network's own).")
@click.option("--images", "count", type=click.IntRange(1, 1000),
              help="How many images every stage is compared on (default: 100, or 4 with convolutions).")  # fmt: skip
@click.option("--from", "start", metavar="STAGE",
              help="Make this stage and those behind it anew; without it, only what changed is made.")  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the stages, their proofs and pictures, and network.npz go.")  # fmt: skip
def compile_(
    network: str,
    folding: str | None,
    target_fps: float | None,
    clock_mhz: float,
    dataset: str | None,
    count: int | None,
    start: str | None,
    out: Path,
) -> None:
    """Compile NETWORK (a name of the table, a network's own file, or an exported model) to a folded dataflow graph.

    Each stage of the FINN flow is saved and compared with the stage before it on real images:
    quantised activations, integer sums, logits and the class. A stage that changes a result ends
    the command and is named. Stages that an earlier run finished in DIR are used again where nothing
    that decides on them changed; the table says which.
    """
    from labd_host import datasets
    from labd_host.dataflow.design import design_of
    from labd_host.flow import MANY_IMAGES, compile_network, proof_images
    from labd_host.flow.gallery import GALLERY_FILE, write_gallery

    name, model, entry = _model(network)
    source = folding_source(
        folding, target_fps, clock_mhz, network=name, command=f"labd compile {network}", out=out
    )
    if entry is not None and not network.endswith(SUFFIX):
        design_of(entry).folded(source)  # before FINN, which takes minutes to refuse it
    pictures = dataset or (entry.dataset if entry else None)
    if pictures is None:
        asked = f"--target-fps {target_fps:g}" if target_fps else f"--folding {folding}"
        raise UsageError(
            f"{network} is not in the network table, so its data set is not known",
            fix=f"labd compile {network} {asked} --dataset mnist -o {out}",
        )
    images, _ = datasets.load(pictures, "test")
    if (out / GALLERY_FILE).is_file():
        (out / GALLERY_FILE).unlink()  # a page about an earlier run must not outlive it
    compiled = compile_network(
        model,
        folding=source,
        out=out,
        images=images[: count or proof_images(entry.kind if entry else "cnv")],
        many_images=images[:MANY_IMAGES],
        clock_mhz=clock_mhz,
        start=start,
        say=lambda line: click.echo(line, err=True),
    )
    page = write_gallery(compiled, clock_mhz)
    _report(compiled)
    click.echo(f"folding: {source.name}")
    click.echo(f"every stage as a picture, explained: {page}")


def _model(network: str) -> tuple[str, Path, Network | None]:
    """Name (for presets), file and, if it is known, entry of what the user asked for."""
    from labd_host.networks import resolve

    model, entry = resolve(network)
    if not model.is_file():
        raise ArtifactError(
            f"no model at {model}", fix="give the path of an exported network, or its name: labd networks"
        )
    return entry.name if entry else model.stem, model, entry


def _report(compiled: CompiledNetwork) -> None:
    from rich.console import Console

    from labd_host.flow.compiled_network import FOLDING_FILE
    from labd_host.flow.cost import ESTIMATE_FILE

    cost = compiled.cost
    console = Console(highlight=False)
    console.print(_stage_table(compiled))
    console.print(_cost_table(cost))
    for line in (*_speed(cost), _fit(cost)):
        console.print(line, soft_wrap=True)
    names = dict.fromkeys(stage.path.name for stage in compiled.stages)  # each once, in order
    console.print(
        f"files in {compiled.folder}: {', '.join(names)}, {FOLDING_FILE}, {ESTIMATE_FILE}",
        soft_wrap=True,
    )


def _speed(cost: Cost) -> Iterator[str]:
    cycles, slowest = cost.cycles, cost.cycles.slowest_layer
    yield (
        f"cycle model: {cycles.cycles_per_frame} cycles a frame, set by {cycles.bottleneck}: "
        f"{cost.frames_per_s(cycles.cycles_per_frame):,.0f} frames/s at {cost.clock_mhz:g} MHz; "
        f"first frame after at most {cycles.latency_cycles} cycles"
    )
    if slowest.interval_cycles < cycles.cycles_per_frame:
        yield (
            f"the DMA is the ceiling: the layers alone would reach {cost.frames_per_s(slowest.interval_cycles):,.0f} "
            f"frames/s ({slowest.name}, {slowest.interval_cycles} cycles), and no folding moves the DMA"
        )


def _fit(cost: Cost) -> str:
    beyond = [f"{more:,} {kind} too many" for kind, more in cost.too_many.items()]
    verdict = f"does not fit {cost.part}: {', '.join(beyond)}" if beyond else f"fits {cost.part}"
    return f"{verdict}, by FINN's estimates of its layers; FIFOs, width converters, DMAs and the shell come on top"


def _stage_table(compiled: CompiledNetwork) -> Table:
    from rich import box
    from rich.table import Table

    from labd_host.flow.stage_records import NOT_BEFORE

    table = Table(title="stages", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("stage", "compared with"):
        table.add_column(heading, no_wrap=True)
    for heading in ("nodes", "tensors", "values", "differ", "s"):
        table.add_column(heading, justify="right")
    again = any(stage.reused or stage.why != NOT_BEFORE for stage in compiled.stages)
    if again:
        table.add_column("made")
    for stage in compiled.stages:
        proof = stage.proof
        numbers = (
            (str(proof.tensors), f"{proof.elements:,}", str(proof.mismatches)) if proof.against else ("",) * 3
        )
        made = ["again" if stage.why else "reused"] if again else []
        table.add_row(stage.name, proof.against, str(stage.nodes), *numbers, f"{stage.seconds:.1f}", *made)
    many = [f", answers on {stage.proof.images}" for stage in compiled.stages if stage.name == "answers"]
    table.caption = f"on {compiled.stages[0].proof.images} images{''.join(many)}"
    return table


def _cost_table(cost: Cost) -> Table:
    from rich import box
    from rich.table import Table

    sums, has = cost.sums, cost.part_has
    kinds = [kind for kind in has if has[kind] or sums[kind]]
    table = Table(
        title="cycles from frame to frame; resources as FINN estimates them", box=box.SIMPLE, padding=0
    )
    table.add_column("node", no_wrap=True)
    for heading in ("PE", "SIMD", "cycles", *kinds):
        table.add_column(heading, justify="right")
    table.add_column("")
    for node in cost.nodes:
        fold = [str(node.folding.get(key, "")) for key in ("PE", "SIMD")]
        uses = [str(node.uses[kind]) if node.uses else "" for kind in kinds]
        mark = "<- slowest" if node.name == cost.cycles.bottleneck else ""
        table.add_row(node.name, *fold, str(node.interval_cycles), *uses, mark)
    table.add_section()
    table.add_row("sum", "", "", "", *(str(sums[kind]) for kind in kinds))
    table.add_row(cost.part, "", "", "", *(str(has[kind]) for kind in kinds))
    shares = [f"{100 * sums[kind] / has[kind]:.0f} %" if has[kind] else "none" for kind in kinds]
    table.add_row("share", "", "", "", *shares)
    return table
