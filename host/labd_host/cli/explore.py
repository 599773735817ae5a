"""``labd explore``: the best folding of a network within budgets, and why it is the best."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd_host.cli.clock_option import clock_option
from labd_host.cli.named_designs import WHAT, unfolded_design
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.explore.answer import Answer
    from labd_host.explore.calibration import Calibration
    from labd_host.explore.optimiser import Explorer


@click.command(name="explore")
@click.argument("network", metavar=WHAT)
@click.option("--target-fps", type=click.FloatRange(0.001, 1e9), metavar="N",
              help="The cheapest folding for N frames a second.")  # fmt: skip
@click.option("--fastest", is_flag=True, help="The fastest folding that fits (the default).")
@click.option(
    "--lowest-latency", is_flag=True, help="The folding whose first frame is out soonest, simulated."
)
@click.option("--frontier", is_flag=True, help="The cheapest folding for every rate there is.")
@click.option("--folding", metavar="NAME|FILE",
              help="Judge this folding: what it costs, how far from the best it is, what to change.")  # fmt: skip
@click.option("--costs", "model", type=click.Choice(["finn", "calibrated"]), default="finn", show_default=True,
              help="What is minimised and kept in budget: FINN's estimate of the layers, or what synthesis is "
              "expected to report, with shell, DMAs, FIFOs and width converters.")  # fmt: skip
@click.option("--part", default="xc7z020", show_default=True, metavar="PART", help="The FPGA.")
@clock_option("Clock of the accelerator.")
@click.option("--lut-budget", type=click.IntRange(min=0), metavar="N")
@click.option("--ff-budget", type=click.IntRange(min=0), metavar="N")
@click.option("--bram-budget", type=click.IntRange(min=0), metavar="N", help="Block RAMs of 18 kbit.")
@click.option("--dsp-budget", type=click.IntRange(min=0), metavar="N")
@click.option("--no-dma", is_flag=True, help="Let no DMA bound the rate, as FINN's own RTL simulation.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write FINN's folding JSON, for labd compile --folding FILE.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def explore(
    network: str, target_fps: float | None, fastest: bool, lowest_latency: bool, frontier: bool,
    folding: str | None, model: str,
    part: str, clock_mhz: float, lut_budget: int | None, ff_budget: int | None, bram_budget: int | None,
    dsp_budget: int | None, no_dma: bool, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Find the best folding of NETWORK (a name of the table, or what a compile or build left).

    The search is exact: no other PE, SIMD and memories are cheaper, or faster, within the budgets; only the
    lowest latency is the best of those that were simulated. Budgets are what AMD recommends to use of the
    part (LUT 70 %, FF 50 %, BRAM and DSP 80 %) unless they are given.
    """
    from labd_host.dataflow.parts import part_of
    from labd_host.explore import calibration
    from labd_host.explore.choices import calibrated_costs, finn_costs
    from labd_host.explore.optimiser import Explorer

    if (target_fps is not None) + fastest + lowest_latency + frontier + (folding is not None) > 1:
        raise UsageError(
            "only one of --target-fps, --fastest, --lowest-latency, --frontier and --folding can be asked for",
            fix=f"labd explore {network} --fastest",
        )
    if out and (frontier or folding is not None):
        raise UsageError(
            "a frontier is many foldings, -o writes one"
            if frontier
            else f"-o writes what is found, {folding} is given",
            fix=f"labd explore {network} --target-fps N -o {out}",
        )
    device, known = part_of(part), calibration.load()
    costs = finn_costs(known) if model == "finn" else calibrated_costs(known)
    given = {"lut": lut_budget, "ff": ff_budget, "bram18": bram_budget, "dsp": dsp_budget}
    budgets = {
        cell: getattr(device.recommended, cell) if most is None else most for cell, most in given.items()
    }
    design = unfolded_design(network)
    explorer = Explorer(design, costs, budgets, dma=not no_dma)
    if frontier:
        _print_frontier(explorer, known, clock_mhz, as_json)
        return
    answer = (
        _given(explorer, known, folding)
        if folding is not None
        else _answer(explorer, known, target_fps, lowest_latency, clock_mhz)
    )
    if as_json:
        click.echo(json.dumps(answer.as_record(clock_mhz), indent=1))
    else:
        from rich.console import Console

        from labd_host.explore.answer import show

        show(Console(highlight=False), answer, device, clock_mhz)
    rate = answer.expected.frames_per_s(clock_mhz)
    if target_fps is not None and rate < target_fps:
        click.echo(
            f"FINN's cycles reach {target_fps:,.0f} frames/s, with restarts of HLS units it is {rate:,.0f}: "
            f"--costs calibrated counts them",
            err=True,
        )
    if out is not None:
        from labd_host.dataflow.folding import to_json

        out.write_text(to_json(answer.design.settings), encoding="utf-8")
        click.echo(f"{out}: try it with labd compile {network} --folding {out} -o DIR", err=True)


def _given(explorer: Explorer, known: Calibration, folding: str) -> Answer:
    from labd_host.dataflow.folding import load_folding
    from labd_host.explore.answer import given

    return given(explorer, known, load_folding(folding, explorer.design.name))


def _answer(
    explorer: Explorer, known: Calibration, target_fps: float | None, lowest_latency: bool, clock_mhz: float
) -> Answer:
    """What was asked for."""
    from labd_host.explore.answer import found
    from labd_host.explore.for_a_rate import most_cycles
    from labd_host.explore.latency import lowest_latency as quickest

    if lowest_latency:
        return found(explorer, known, quickest(explorer))
    if target_fps is None:
        return found(explorer, known, explorer.fastest())
    cycles = most_cycles(target_fps, clock_mhz)
    return found(explorer, known, explorer.cheapest(cycles), cycles)


def _print_frontier(explorer: Explorer, known: Calibration, clock_mhz: float, as_json: bool) -> None:
    from labd_host.explore.rivals import calibrated_total, finn_total

    rows = []
    for solution in explorer.frontier():
        calibrated, _ = calibrated_total(solution.design, known)
        rate = explorer.expected(solution).frames_per_s(clock_mhz)
        rows.append((solution, finn_total(solution.design), calibrated, rate))
    if as_json:
        record = [
            {
                "cycles_per_frame": solution.cycles,
                "frames_per_s": rate,
                "finn": asdict(finn),
                "calibrated": asdict(calibrated),
                "folding": solution.folding,
            }
            for solution, finn, calibrated, rate in rows
        ]
        click.echo(
            json.dumps(
                {"network": explorer.design.name, "clock_mhz": clock_mhz, "frontier": record}, indent=1
            )
        )
        return
    if not rows:
        raise UsageError(
            f"no folding of {explorer.design.name} keeps the budgets", fix="raise them: --lut-budget N"
        )
    from rich.console import Console

    from labd_host.explore.answer import table

    made = table("cycles", "frames/s", "LUT by FINN", "BRAM18 by FINN", "LUT expected", "FF expected")
    made.columns[0].justify = "right"
    made.caption = "expected: with FIFOs of two words each"
    for solution, finn, calibrated, rate in rows:
        made.add_row(
            f"{solution.cycles:,}",
            f"{rate:,.0f}",
            f"{finn.lut:,.0f}",
            f"{finn.bram18:,.0f}",
            f"{calibrated.lut:,.0f}",
            f"{calibrated.ff:,.0f}",
        )
    Console(highlight=False).print(made)
