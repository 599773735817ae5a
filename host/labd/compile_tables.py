"""The tables of a compiled network: its stages with their proofs, its cycles and its cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from labd_host.flow import CompiledNetwork, Cost


def speed_lines(cost: Cost) -> Iterator[str]:
    """The rate that the cycle model gives, and the DMA where it is the ceiling."""
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


def fit_line(cost: Cost) -> str:
    """Whether the layers fit the part, by FINN's estimates."""
    beyond = [f"{more:,} {kind} too many" for kind, more in cost.too_many.items()]
    verdict = f"does not fit {cost.part}: {', '.join(beyond)}" if beyond else f"fits {cost.part}"
    return f"{verdict}, by FINN's estimates of its layers; FIFOs, width converters, DMAs and the shell come on top"


def stage_table(compiled: CompiledNetwork) -> Table:
    """A row a stage: what it was compared with, on how many values, and how many differ."""
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
        against = f"not made ({proof.against})" if proof.missing else proof.against
        if proof.missing:
            numbers = ("",) * 3
        made = ["again" if stage.why else "reused"] if again else []
        table.add_row(stage.name, against, str(stage.nodes), *numbers, f"{stage.seconds:.1f}", *made)
    many = [
        f", answers on {stage.proof.images}"
        for stage in compiled.stages
        if stage.name == "answers" and not stage.proof.missing
    ]
    table.caption = f"on {compiled.stages[0].proof.images} images{''.join(many)}"
    return table


def cost_table(cost: Cost) -> Table:
    """A row a node: folding, cycles, cells, and the sums beside what the part has."""
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
