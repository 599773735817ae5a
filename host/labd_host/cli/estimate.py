"""``labd estimate``: what a folding gives, before anything is built."""

from __future__ import annotations

import json

import click

from labd.loading import WHAT
from labd_host.cli.clock_option import clock_option
from labd_host.cli.completion import networks_or_files
from labd_host.cli.dataset_option import dataset_option


@click.command()
@click.argument("what", metavar=WHAT, shell_complete=networks_or_files)
@click.option("--folding", metavar="NAME|FILE|auto",
              help="PE and SIMD: a preset (lab), FINN's folding JSON, or auto, the fastest that fits.  [default: the "
              "one it has; a network that has none takes lab, or auto where there is no lab]")  # fmt: skip
@dataset_option
@clock_option("Clock of the accelerator.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def estimate(what: str, folding: str | None, dataset: str, clock_mhz: float, as_json: bool) -> None:
    """How many cycles each layer of a folded network takes, what the rate is and what limits it.

    The layers' cycles are FINN's own numbers. On top come the restart of HLS units, the width converters and
    the DMAs, which FINN leaves out. For latency and FIFOs: labd simulate.
    """
    from labd.cycle_table import CycleTable
    from labd.loading import chain_of

    found = CycleTable(chain_of(what, folding, dataset=dataset, clock_mhz=clock_mhz), clock_mhz)
    if as_json:
        click.echo(json.dumps(found.record, indent=2))
    else:
        found.show()
