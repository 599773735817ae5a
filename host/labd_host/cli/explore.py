"""``labd explore``: the best folding of a network within budgets, and why it is the best."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labd_host.cli.clock import clock_option
from labd_host.cli.designs import WHAT, unfolded_design
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.explore.calibration import Calibration
    from labd_host.explore.comparison import LayerReport, Rival
    from labd_host.explore.optimiser import Explorer, Solution
    from labd_host.explore.parts import Part
    from labd_host.explore.resources import Resources

CELLS = {"lut": "LUT", "ff": "FF", "bram18": "BRAM18", "dsp": "DSP"}


@click.command(name="explore")
@click.argument("network", metavar=WHAT)
@click.option("--target-fps", type=click.FloatRange(0.001, 1e9), metavar="N",
              help="The cheapest folding for N frames a second.")  # fmt: skip
@click.option("--fastest", is_flag=True, help="The fastest folding that fits (the default).")
@click.option(
    "--lowest-latency", is_flag=True, help="The folding with the fewest cycles over all its layers."
)
@click.option("--frontier", is_flag=True, help="The cheapest folding for every rate there is.")
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
    network: str, target_fps: float | None, fastest: bool, lowest_latency: bool, frontier: bool, model: str,
    part: str, clock_mhz: float, lut_budget: int | None, ff_budget: int | None, bram_budget: int | None,
    dsp_budget: int | None, no_dma: bool, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Find the best folding of NETWORK (a name of the table, or what a compile or build left).

    The search is exact: no other PE, SIMD and memories are cheaper, or faster, within the budgets. Budgets
    are what AMD recommends to use of the part (LUT 70 %, FF 50 %, BRAM and DSP 80 %) unless they are given.
    """
    from labd_host.explore import calibration
    from labd_host.explore.choices import calibrated_costs, finn_costs
    from labd_host.explore.optimiser import Explorer
    from labd_host.explore.parts import part_of

    if (target_fps is not None) + fastest + lowest_latency + frontier > 1:
        raise UsageError(
            "only one of --target-fps, --fastest, --lowest-latency and --frontier can be asked for",
            fix=f"labd explore {network} --fastest",
        )
    if frontier and out:
        raise UsageError(
            "a frontier is many foldings, -o writes one",
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
    solution, cycles = _answer(explorer, target_fps, lowest_latency, clock_mhz)
    answer = _Answer(explorer, solution, cycles, known, device, clock_mhz)
    _print(answer, budgets, as_json)
    if target_fps is not None and answer.frames_per_s < target_fps:
        click.echo(
            f"FINN's cycles reach {target_fps:,.0f} frames/s, with restarts of HLS units it is "
            f"{answer.frames_per_s:,.0f}: --costs calibrated counts them",
            err=True,
        )
    if out is not None:
        from labd_host.flow.folding import to_json

        out.write_text(to_json(solution.folding), encoding="utf-8")
        click.echo(f"{out}: try it with labd compile {network} --folding {out} -o DIR", err=True)


def _answer(
    explorer: Explorer, target_fps: float | None, lowest_latency: bool, clock_mhz: float
) -> tuple[Solution, int | None]:
    """What was asked for, and the most cycles a frame it could have taken; None: it was about latency."""
    from labd_host.flow import Wanted

    if (cycles := Wanted(target_fps, clock_mhz).cycles_per_frame) is not None:
        return explorer.cheapest(cycles), cycles
    if lowest_latency:
        return explorer.lowest_latency(), None
    solution = explorer.fastest()
    return solution, solution.cycles


class _Answer:
    """A solution with everything that is told about it."""

    def __init__(
        self,
        explorer: Explorer,
        solution: Solution,
        cycles: int | None,
        known: Calibration,
        part: Part,
        clock_mhz: float,
    ) -> None:
        from labd_host.explore.comparison import (
            calibrated_total,
            explain,
            finn_total,
            rival,
            set_folding_rival,
        )
        from labd_host.flow.folding import load_folding
        from labd_host.flow.presets import PRESETS

        design = solution.design
        self.solution, self.part, self.clock_mhz, self.costs = solution, part, clock_mhz, explorer.costs
        self.expected = explorer.expected(solution)
        self.layers = explain(solution, explorer.costs, known, cycles)
        self.finn = finn_total(design)
        self.calibrated, self.spread = calibrated_total(design, known)
        self.rivals = [set_folding_rival(explorer.design, cycles or solution.cycles, known)]
        if "lab" in PRESETS.get(design.name, {}):
            self.rivals.append(rival(explorer.design, load_folding("lab", design.name), known))

    @property
    def frames_per_s(self) -> float:
        """What a board is expected to reach, restarts of HLS units and DMAs counted."""
        return self.expected.frames_per_s(self.clock_mhz)

    def as_record(self) -> dict[str, Any]:
        return {
            "network": self.solution.design.name,
            "costs": self.costs.name,
            "cycles_per_frame": self.solution.cycles,
            "interval_cycles": self.expected.cycles_per_frame,
            "frames_per_s": self.frames_per_s,
            "clock_mhz": self.clock_mhz,
            "sum_of_layers_cycles": self.solution.fill_cycles,
            "bottleneck": self.expected.bottleneck,
            "finn": asdict(self.finn),
            "calibrated": asdict(self.calibrated),
            "calibrated_plus_minus": asdict(self.spread),
            "layers": [asdict(layer) for layer in self.layers],
            "compared": [asdict(rival) for rival in self.rivals],
            "folding": self.solution.folding,
        }


def _print(answer: _Answer, budgets: dict[str, int], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer.as_record(), indent=1))
        return
    from rich.console import Console

    solution = answer.solution
    console = Console(highlight=False)
    expected = answer.expected.cycles_per_frame
    restarts = f", {expected:,} with restarts of HLS units" if expected > solution.cycles else ""
    console.print(
        f"{solution.design.name}: {solution.cycles:,} cycles a frame{restarts}, bound by {answer.expected.bottleneck}: "
        f"{answer.frames_per_s:,.0f} frames/s at {answer.clock_mhz:g} MHz (cycle model)",
        soft_wrap=True,
    )
    console.print(_layer_table(answer.layers))
    console.print(_why_table(answer.layers))
    console.print(_total_table(answer))
    console.print(_rival_table(answer))
    kept = ", ".join(f"{many:,} {CELLS[cell]}" for cell, many in budgets.items())
    console.print(
        f"exact for the costs called {answer.costs.name!r}, within {kept}; the sum of the layers' cycles is "
        f"{solution.fill_cycles:,}",
        soft_wrap=True,
    )


def _table(*columns: str, title: str | None = None) -> Any:
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _layer_table(layers: list[LayerReport]) -> Any:
    table = _table("layer", "folding", "memory", "cycles", "LUT", "expected", "BRAM18")
    table.columns[1].justify = table.columns[2].justify = "left"
    for layer in layers:
        table.add_row(
            _shown(layer.name),
            layer.folding,
            layer.memory,
            f"{layer.cycles:,}",
            f"{layer.finn.lut:,.0f}",
            f"{layer.calibrated.lut:,.0f}",
            f"{layer.calibrated.bram18:,.0f}",
        )
    return table


def _why_table(layers: list[LayerReport]) -> Any:
    table = _table("layer", "why this folding")
    table.columns[1].justify = "left"
    for layer in layers:
        table.add_row(_shown(layer.name), layer.why)
    return table


def _shown(name: str) -> str:
    """A node's name for a table of 80 columns."""
    return name.replace("ConvolutionInputGenerator_rtl_", "window ")


def _total_table(answer: _Answer) -> Any:
    table = _table("", "LUT", "FF", "BRAM18", "DSP")
    holds = answer.part.holds
    table.add_row("layers, by FINN", *_cells(answer.finn, unknown=("ff",)))
    table.add_row("everything, expected", *_cells(answer.calibrated))
    table.add_row("  give or take", *_cells(answer.spread, unknown=("bram18", "dsp")))
    shares = [f"{getattr(answer.calibrated, cell) / getattr(holds, cell):.0%}" for cell in CELLS]
    table.add_row(f"  of the {answer.part.name}", *shares)
    return table


def _cells(cost: Resources, unknown: tuple[str, ...] = ()) -> list[str]:
    return ["-" if cell in unknown else f"{getattr(cost, cell):,.0f}" for cell in CELLS]


def _rival_table(answer: _Answer) -> Any:
    from labd_host.explore.cycles import layer_cycles

    table = _table("compared, by FINN", "cycles", "frames/s", "LUT", "BRAM18", "LUT expected")

    def row(name: str, cycles: int, finn: Resources, expected: Resources) -> None:
        rate = f"{answer.clock_mhz * 1e6 / cycles:,.0f}"
        table.add_row(
            name, f"{cycles:,}", rate, f"{finn.lut:,.0f}", f"{finn.bram18:,.0f}", f"{expected.lut:,.0f}"
        )

    slowest = max(layer_cycles(layer) for layer in answer.solution.design.layers)
    row("this folding", slowest, answer.finn, answer.calibrated)
    for other in answer.rivals:
        _rival_row(other, row, table)
    return table


def _rival_row(other: Rival, row: Any, table: Any) -> None:
    name = "FINN's SetFolding" if other.name == "SetFolding" else f"{other.name}'s, by hand"
    if other.fault:
        table.add_row(f"{name}: illegal", "", "", "", "", "")
    else:
        row(name, other.cycles, other.finn, other.calibrated)


def _print_frontier(explorer: Explorer, known: Calibration, clock_mhz: float, as_json: bool) -> None:
    from labd_host.explore.comparison import calibrated_total, finn_total

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

    table = _table("cycles", "frames/s", "LUT by FINN", "BRAM18 by FINN", "LUT expected", "FF expected")
    table.columns[0].justify = "right"
    for solution, finn, calibrated, rate in rows:
        table.add_row(
            f"{solution.cycles:,}",
            f"{rate:,.0f}",
            f"{finn.lut:,.0f}",
            f"{finn.bram18:,.0f}",
            f"{calibrated.lut:,.0f}",
            f"{calibrated.ff:,.0f}",
        )
    Console(highlight=False).print(table)
