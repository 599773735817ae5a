"""``labd explore``: the best folding of a network within budgets, and why it is the best."""

from __future__ import annotations

import json
from pathlib import Path

import click

from labd.loading import WHAT
from labd_host.cli.clock_option import clock_option
from labd_host.cli.completion import networks_or_files
from labd_host.cli.dataset_option import dataset_option
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import UsageError


@click.command(name="explore")
@click.argument("network", metavar=WHAT, shell_complete=networks_or_files)
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
@click.option("--part", default=PYNQ_Z2_DEVICE, show_default=True, metavar="PART", help="The FPGA.")
@clock_option("Clock of the accelerator.")
@click.option("--lut-budget", type=click.IntRange(min=0), metavar="N")
@click.option("--ff-budget", type=click.IntRange(min=0), metavar="N")
@click.option("--bram-budget", type=click.IntRange(min=0), metavar="N", help="Block RAMs of 18 kbit.")
@click.option("--dsp-budget", type=click.IntRange(min=0), metavar="N")
@dataset_option
@click.option("--no-dma", is_flag=True, help="Let no DMA bound the rate, as FINN's own RTL simulation.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write FINN's folding JSON, for labd compile --folding FILE.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def explore(
    network: str, target_fps: float | None, fastest: bool, lowest_latency: bool, frontier: bool,
    folding: str | None, model: str,
    part: str, clock_mhz: float, lut_budget: int | None, ff_budget: int | None, bram_budget: int | None,
    dsp_budget: int | None, dataset: str, no_dma: bool, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Find the best folding of NETWORK (a network, an export, or what a compile or build left).

    The search is exact: no other PE, SIMD and memories are cheaper, or faster, within the budgets; only the
    lowest latency is the best of those that were simulated. Budgets are what AMD recommends to use of the
    part (LUT 70 %, FF 50 %, BRAM and DSP 80 %) unless they are given.
    """
    from labd.exploration import FoldingAnswer, FoldingSearch, Frontier
    from labd.loading import unfolded_chain
    from labd_host.dataflow.folding import load_folding

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
    budgets = {"lut": lut_budget, "ff": ff_budget, "bram18": bram_budget, "dsp": dsp_budget}
    chain = unfolded_chain(network, dataset=dataset)
    search = FoldingSearch(
        chain, clock_mhz=clock_mhz, part=part, costs=model, budgets=budgets, dma=not no_dma
    )
    found: FoldingAnswer | Frontier
    if frontier:
        found = search.frontier()
    elif folding is not None:
        found = search.judge(load_folding(folding, chain.name))
    elif lowest_latency:
        found = search.lowest_latency()
    else:
        found = search.fastest() if target_fps is None else search.for_rate(target_fps)
    if as_json:
        click.echo(json.dumps(found.record, indent=1))
    else:
        found.show()
    if isinstance(found, Frontier):
        return
    if target_fps is not None and found.frames_per_s < target_fps:
        click.echo(
            f"FINN's cycles reach {target_fps:,.0f} frames/s, with restarts of HLS units it is "
            f"{found.frames_per_s:,.0f}: --costs calibrated counts them",
            err=True,
        )
    if out is not None:
        found.write(out)
        click.echo(f"{out}: try it with labd compile {network} --folding {out} -o DIR", err=True)
