"""``labd demo``: the whole road once, as the commands do it that a user would type."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from labd_host.cli.completion import networks_or_files
from labd_host.cli.demo_report import RoadStep, report

ONLY_VIRTUAL = "LABD_BOARDS"


@click.command()
@click.argument("network", default="tfc-w1a1", shell_complete=networks_or_files)
@click.option("--board", "number", default="03", show_default=True, help="Number of the virtual board.")
@click.option("-o", "--out", default="build/demo", show_default=True,
              type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle and the reports go.")  # fmt: skip
@click.option("--batchsize", default=1000, show_default=True, help="Frames a run.")
def demo(network: str, number: str, out: Path, batchsize: int) -> None:
    """Compile NETWORK, bundle it, deploy it to a virtual board over SSH, validate and measure it there.

    Afterwards the virtual board is down; the bundle and the reports stay in DIR.
    """
    import labd
    from labd.progress import ProgressLines
    from labd.shown import terminal
    from labd_host.networks import find_trained, trained_record
    from labd_host.networks import network as find_network
    from labd_host.remote.inventory import SHIPPED

    # Only virtual boards, whatever inventory lies around: a demo must never touch somebody's board.
    os.environ[ONLY_VIRTUAL] = str(SHIPPED)
    steps: list[RoadStep] = []
    spec = find_network(network)
    trained = trained_record(spec.name, find_trained(spec))
    out = out.absolute()
    folder = out / f"{spec.name}-emu"
    told = ProgressLines()
    board = labd.Board(number, listener=told)
    with _step(steps, f"labd build {network} -o {_short(folder)}"):
        design = labd.network(network).compile(out=folder.with_name(folder.name + ".stages"), listener=told)
        bundle = design.build(out=folder)
    try:
        with _step(steps, f"labd board up {number}"):
            board.down()
            board.up()
        with _step(steps, f"labd deploy --board {number} --bundle {_short(folder)}"):
            board.deploy(bundle)
        with _step(steps, f"labd validate --board {number} --batchsize {batchsize} --compare golden"):
            validation = board.validate(batchsize=batchsize, compare="golden").record
        with _step(steps, f"labd throughput --board {number} --batchsize {batchsize}"):
            throughput = board.throughput(batchsize=batchsize).record
    finally:
        with _step(steps, f"labd board down {number}"):
            board.down()

    files = {"bundle": folder, "compiled stages": design.folder, "gallery": design.gallery().path}
    for name, record in (("validation", validation), ("throughput", throughput)):
        files[name] = out / f"{spec.name}-{name}.json"
        files[name].write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    terminal().print(
        report(bundle.manifest, validation, throughput, steps, files, trained=trained), soft_wrap=True
    )


def _short(path: Path) -> str:
    """*path* as a user in this folder would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@contextlib.contextmanager
def _step(steps: list[RoadStep], command: str) -> Iterator[None]:
    click.echo(f"$ {command}", err=True)
    began_s = time.monotonic()
    yield
    steps.append(RoadStep(command, time.monotonic() - began_s))
