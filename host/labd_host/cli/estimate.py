"""``labd estimate``: what a folding gives, before anything is built."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from labd_host.cli.clock_option import clock_option
from labd_host.cli.named_designs import WHAT, named_design
from labd_host.drawing.node_names import shown_name

if TYPE_CHECKING:
    from rich.table import Table

    from labd_host.dataflow.cycles import Estimate, NodeCycles
    from labd_host.dataflow.design import Design

NAMED = 3  # the bottleneck and the next two


@click.command()
@click.argument("what", metavar=WHAT)
@click.option("--folding", metavar="NAME|FILE", help="PE and SIMD: a preset (lab) or FINN's folding JSON.")
@clock_option("Clock of the accelerator.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def estimate(what: str, folding: str | None, clock_mhz: float, as_json: bool) -> None:
    """How many cycles each layer of a folded network takes, what the rate is and what limits it.

    The layers' cycles are FINN's own numbers. On top come the restart of HLS units, the width converters and
    the DMAs, which FINN leaves out. For latency and FIFOs: labd simulate.
    """
    from labd_host.dataflow.cycles import estimate as estimate_cycles

    design = named_design(what, folding)
    found = estimate_cycles(design.layers, design.inputs, design.outputs)
    if as_json:
        click.echo(json.dumps(_record(design, found, clock_mhz), indent=2))
        return
    _print(design, found, clock_mhz)


def _record(design: Design, found: Estimate, clock_mhz: float) -> dict[str, Any]:
    folds = _folds(design)
    return {
        "network": design.name,
        "clock_mhz": clock_mhz,
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                **folds.get(node.name, {}),
                "cycles": node.cycles,
                "restart_cycles": node.restart_cycles,
                "interval_cycles": node.interval_cycles,
            }
            for node in found.nodes
        ],
        "cycles_per_frame": found.cycles_per_frame,
        "frames_per_s": found.frames_per_s(clock_mhz),
        "slowest": [node.name for node in found.slowest(NAMED)],
    }


def _folds(design: Design) -> dict[str, dict[str, int]]:
    from labd_host.dataflow.folding import folding_of

    return folding_of(design.layers)


def _print(design: Design, found: Estimate, clock_mhz: float) -> None:
    from rich.console import Console

    from labd_shared.rates import frames_per_s

    console = Console(highlight=False)
    console.print(_table(design, found))
    rate = found.frames_per_s(clock_mhz)
    console.print(
        f"{found.cycles_per_frame:,} cycles a frame: {rate:,.0f} frames/s at {clock_mhz:g} MHz",
        soft_wrap=True,
    )
    first, *others = found.slowest(NAMED)
    console.print(f"bottleneck: {_said(first)}; then {', '.join(map(_said, others))}", soft_wrap=True)
    if first.op == "IODMA":
        alone = frames_per_s(clock_mhz, found.slowest_layer.interval_cycles)
        console.print(
            f"the DMA is the ceiling and no folding moves it: the layers alone would reach {alone:,.0f} frames/s",
            soft_wrap=True,
        )


def _said(node: NodeCycles) -> str:
    restart = f" ({node.restart_cycles} of them to restart)" if node.restart_cycles else ""
    return f"{node.name}, {node.interval_cycles:,} cycles{restart}"


def _table(design: Design, found: Estimate) -> Table:
    from rich import box
    from rich.table import Table

    folds = _folds(design)
    places = {node.name: place for place, node in enumerate(found.slowest(NAMED), 1)}
    table = Table(title=f"{design.name}, cycles a frame", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("node", no_wrap=True)
    for header in ("PE", "SIMD", "cycles", "restart", "share"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for node in found.nodes:
        fold = folds.get(node.name, {})
        share = node.interval_cycles / found.cycles_per_frame
        counted = f"{node.cycles:,}" if node.name in folds else f"({node.cycles:,})"
        place = places.get(node.name)
        mark = "" if place is None else "1st" if place == 1 else "2nd" if place == 2 else "3rd"
        table.add_row(
            shown_name(node.name), str(fold.get("PE", "")), str(fold.get("SIMD", "")), counted,
            f"{node.restart_cycles or ''}", f"{share:.0%}", mark,
        )  # fmt: skip
    table.caption = "in brackets: what FINN counts as 0"
    return table
