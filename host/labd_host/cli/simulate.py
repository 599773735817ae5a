"""``labd simulate``: a folded network, cycle by cycle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd.loading import WHAT
from labd.simulated_run import FRAMES
from labd_host.cli.clock_option import clock_option
from labd_host.cli.completion import networks_or_files
from labd_host.cli.dataset_option import dataset_option
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.simulate.pipeline import Machine

FINN, MINIMAL = "finn", "minimal"


@click.command()
@click.argument("what", metavar=WHAT, shell_complete=networks_or_files)
@click.option("--folding", metavar="NAME|FILE|auto",
              help="PE and SIMD: a preset (lab), FINN's folding JSON, or auto, the fastest that fits.  [default: the "
              "one it has; a network that has none takes lab, or auto where there is no lab]")  # fmt: skip
@dataset_option
@click.option("--frames", type=click.IntRange(1, 100_000), default=FRAMES, show_default=True,
              help="How many frames go through.")  # fmt: skip
@click.option("--fifo-depths", "depths", metavar="finn|minimal|FILE", default=FINN, show_default=True,
              help="FINN's rule, 2 everywhere, or a build's final_hw_config.json (its folding as well).")  # fmt: skip
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
    what: str, folding: str | None, dataset: str, frames: int, depths: str, size_fifos: bool, no_dma: bool,
    clock_mhz: float, picture: Path | None, animation: Path | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run a folded network cycle by cycle: latency, rate, FIFO levels, and who waits for whom.

    Every layer does what its circuit does in each cycle: read, compute, write, wait. The latency was
    within 2 cycles of RTL simulations of five builds; no board and no Vivado is needed.
    """
    from labd.simulated_run import SimulatedRun

    machine = _machine(what, folding, dataset, depths, dma=not no_dma)
    found = SimulatedRun(machine, frames, clock_mhz, size_fifos=size_fifos)
    if size_fifos:
        click.echo(f"{found.simulations} simulations to size the FIFOs", err=True)
    files = []
    if picture is not None:
        found.picture(picture)
        files.append(f"picture: {picture}")
    if animation is not None:
        found.animation(animation)
        files.append(f"animation: {animation}")
    if out is not None:
        found.write_depths(out)
        files.append(f"FIFO depths: {out}")
    if as_json:
        click.echo(json.dumps(found.record, indent=2))
        return
    found.show()
    for line in files:
        click.echo(line)


def _machine(what: str, folding: str | None, dataset: str, depths: str, *, dma: bool) -> Machine:
    from labd.loading import chain_of, unfolded_chain
    from labd_host.simulate.fifos import depths_of_finn
    from labd_host.simulate.hardware_config import read_hardware_config
    from labd_host.simulate.pipeline import assemble

    if depths in (FINN, MINIMAL):
        chain = chain_of(what, folding, dataset=dataset)
        machine = assemble(chain, dma=dma)
        return machine.with_named_depths(depths_of_finn(chain)) if depths == FINN else machine
    if not Path(depths).is_file():
        raise UsageError(
            f"there is no file {depths} with FIFO depths", fix="--fifo-depths finn, minimal or a file"
        )
    config = read_hardware_config(Path(depths))
    if folding is None and config.folding.nodes:
        return config.machine(unfolded_chain(what, dataset=dataset), dma=dma)
    return assemble(chain_of(what, folding, dataset=dataset), dma=dma).with_named_depths(config.depths)
