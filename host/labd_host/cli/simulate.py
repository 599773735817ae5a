"""``labd simulate``: a folded network, cycle by cycle."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labd_host.cli.clock_option import clock_option
from labd_host.cli.named_designs import WHAT, named_design, unfolded_design
from labd_host.drawing.node_names import shown_name

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from labd_host.simulate.pipeline import Machine
    from labd_host.simulate.simulator import Simulation

FRAMES = 5
FINN, MINIMAL = "finn", "minimal"
TRACE_ROWS = 600  # of a picture
ANIMATION_ROWS = 1500  # steps of an animation


@click.command()
@click.argument("what", metavar=WHAT)
@click.option("--folding", metavar="NAME|FILE", help="PE and SIMD: a preset (lab) or FINN's folding JSON.")
@click.option("--frames", type=click.IntRange(1, 100_000), default=FRAMES, show_default=True,
              help="How many frames go through.")  # fmt: skip
@click.option("--fifo-depths", "depths", metavar="finn|minimal|FILE", default=FINN, show_default=True,
              help="FINN's rule, 2 everywhere, or a build's final_hw_config.json (its folding, too).")  # fmt: skip
@click.option("--size-fifos", is_flag=True, help="Find the smallest FIFOs that keep the rate, and use them.")
@click.option("--no-dma", is_flag=True, help="Without the DMAs, as FINN's own RTL simulation.")
@clock_option("Clock of the accelerator.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg",
              help="Draw who works, starves and is blocked over time, and how full the FIFOs are.")  # fmt: skip
@click.option("--animation", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html",
              help="The same as a page to step through, cycle by cycle.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json",
              help="Write the FIFO depths, for --fifo-depths.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def simulate(
    what: str, folding: str | None, frames: int, depths: str, size_fifos: bool, no_dma: bool, clock_mhz: float,
    picture: Path | None, animation: Path | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run a folded network cycle by cycle: latency, rate, FIFO levels, and who waits for whom.

    Every layer does what its circuit does in each cycle: read, compute, write, wait. The latency was
    within 2 cycles of RTL simulations of five builds; no board and no Vivado is needed.
    """
    from labd_host.simulate.fifos import size_fifos as find_depths
    from labd_host.simulate.fifos import unbounded
    from labd_host.simulate.simulator import simulate as run

    machine = _machine(what, folding, depths, dma=not no_dma)
    before = machine
    if size_fifos:
        sized = find_depths(machine, max(2, frames))
        click.echo(f"{sized.simulations} simulations to size the FIFOs", err=True)
        machine = machine.with_depths(sized.depths)
    found = run(machine, frames)
    free_cycles = unbounded(before, frames).interval_cycles
    files = _draw(machine, frames, clock_mhz, picture, animation)
    if out is not None:
        _write(out, _depths_file(machine))
        files.append(f"FIFO depths: {out}")
    if as_json:
        click.echo(json.dumps(_record(found, free_cycles, clock_mhz), indent=2))
        return
    _print(found, free_cycles, clock_mhz)
    for line in files:
        click.echo(line)


def _machine(what: str, folding: str | None, depths: str, *, dma: bool) -> Machine:
    from labd_host.simulate.fifos import depths_of_finn
    from labd_host.simulate.hardware_config import read_hardware_config
    from labd_host.simulate.pipeline import assemble
    from labd_shared.errors import UsageError

    if depths in (FINN, MINIMAL):
        design = named_design(what, folding)
        machine = assemble(design, dma=dma)
        return machine.with_named_depths(depths_of_finn(design)) if depths == FINN else machine
    if not Path(depths).is_file():
        raise UsageError(
            f"there is no file {depths} with FIFO depths", fix="--fifo-depths finn, minimal or a file"
        )
    config = read_hardware_config(Path(depths))
    if folding is None and config.folding.nodes:
        return config.machine(unfolded_design(what), dma=dma)
    return assemble(named_design(what, folding), dma=dma).with_named_depths(config.depths)


def _depths_file(machine: Machine) -> str:
    depths = {fifo.name: {"depth": fifo.depth} for fifo in machine.fifos if not fifo.fixed}
    return json.dumps(depths, indent=2) + "\n"


def _draw(
    machine: Machine, frames: int, clock_mhz: float, picture: Path | None, animation: Path | None
) -> list[str]:
    """Run again with a trace, and draw it; what was written, a line each."""
    from labd_host.simulate.simulator import simulate as run

    lines = []
    if picture is not None:
        from labd_host.simulate.run_picture import draw

        _write(picture, draw(run(machine, frames, trace_rows=TRACE_ROWS), clock_mhz))
        lines.append(f"picture: {picture}")
    if animation is not None:
        from labd_host.simulate.animation import page

        _write(animation, page(run(machine, frames, trace_rows=ANIMATION_ROWS), clock_mhz))
        lines.append(f"animation: {animation}")
    return lines


def _write(path: Path, text: str) -> None:
    from labd_shared.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", fix="name another file") from error


def _record(found: Simulation, free_cycles: float, clock_mhz: float) -> dict[str, Any]:
    from labd_host.simulate.simulator import STATES
    from labd_shared.rates import frames_per_s

    interval = found.interval_cycles
    return {
        "network": found.machine.name,
        "clock_mhz": clock_mhz,
        "frames": len(found.finished),
        "latency_cycles": found.latency_cycles,
        "interval_cycles": None if math.isnan(interval) else interval,
        "interval_cycles_without_full_fifos": None if math.isnan(free_cycles) else free_cycles,
        "frames_per_s": None if math.isnan(interval) else frames_per_s(clock_mhz, interval),
        "bottleneck": found.bottleneck.name,
        "cycles": found.cycles,
        "units": [
            {"name": unit.name, "op": unit.op, **dict(zip(STATES, map(int, busy), strict=True))}
            for unit, busy in zip(found.machine.units, found.busy, strict=True)
        ],
        "fifos": [
            {"name": fifo.name, "depth": fifo.depth, "most": int(most), "bits": fifo.bits}
            for fifo, most in zip(found.machine.fifos, found.high_water, strict=True)
        ],
    }


def _print(found: Simulation, free_cycles: float, clock_mhz: float) -> None:
    from rich.console import Console

    from labd_shared.rates import frames_per_s

    console = Console(highlight=False)
    console.print(_table(found))
    console.print(
        f"first frame after {found.latency_cycles:,} cycles, {found.latency_cycles / clock_mhz:,.2f} us at "
        f"{clock_mhz:g} MHz",
        soft_wrap=True,
    )
    interval = found.interval_cycles
    if math.isnan(interval):
        console.print("one frame shows no rate: --frames 2 or more", soft_wrap=True)
        return
    console.print(
        f"then one every {interval:,.10g} cycles: {frames_per_s(clock_mhz, interval):,.0f} frames/s; busiest: "
        f"{found.bottleneck.name}",
        soft_wrap=True,
    )
    if interval > free_cycles:
        console.print(
            f"the FIFOs are too small for more: with FIFOs that never fill it would be {free_cycles:,.10g} cycles; "
            f"--size-fifos finds the smallest that do",
            soft_wrap=True,
        )
    _print_blocked(console, found)


def _print_blocked(console: Console, found: Simulation) -> None:
    """Which unit waits longest for room in front of it."""
    from labd_host.simulate.simulator import BLOCKED

    index = int(found.busy[:, BLOCKED].argmax())
    cycles = int(found.busy[index, BLOCKED])
    if cycles:
        unit = found.machine.units[index]
        fifo = found.machine.fifos[unit.outputs[0]]
        console.print(
            f"blocked longest: {unit.name}, {cycles / found.cycles:.0%} of the time, because {fifo.name} is full",
            soft_wrap=True,
        )


def _table(found: Simulation) -> Table:
    from rich import box
    from rich.table import Table

    from labd_host.simulate.simulator import BLOCKED, IDLE, STARVED, WORKING

    table = Table(
        title=f"{found.machine.name}, {found.cycles:,} cycles", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("node", no_wrap=True)
    for header in ("work", "starve", "block", "idle", "FIFO", "depth", "most"):
        table.add_column(header, justify="right", no_wrap=True)
    for unit, busy in zip(found.machine.units, found.busy, strict=True):
        shares = [f"{busy[state] / found.cycles:.0%}" for state in (WORKING, STARVED, BLOCKED, IDLE)]
        behind = ["", "", ""]
        if unit.outputs:
            fifo = found.machine.fifos[unit.outputs[0]]
            behind = [fifo.name.rpartition("_")[2], str(fifo.depth), str(found.high_water[unit.outputs[0]])]
            if fifo.fixed:
                behind[0] = "DMA"
        table.add_row(shown_name(unit.name), *shares, *behind)
    table.caption = "FIFO: the one behind the node, and the most words it held"
    return table
