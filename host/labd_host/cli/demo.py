"""``labd demo``: the whole road once, with the commands a user would type."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from labd_host.cli.clock_option import DEFAULT_MHZ
from labd_host.cli.demo_report import Step, report
from labd_shared.errors import BoardError, LabdError, SetupError
from labd_shared.wire import find_error

CHECKOUT = Path(__file__).resolve().parents[3]
COMMAND_TIMEOUT_S = 300.0
END_TIMEOUT_S = 10.0


@click.command()
@click.argument("network", default="tfc-w1a1")
@click.option("--board", "number", default="03", show_default=True, help="Number of the virtual board.")
@click.option("-o", "--out", default="build/demo", show_default=True,
              type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the bundle and the reports go.")  # fmt: skip
@click.option("--batchsize", default=1000, show_default=True, help="Frames a run.")
def demo(network: str, number: str, out: Path, batchsize: int) -> None:
    """Compile NETWORK, bundle it, deploy it to a virtual board over SSH, validate and measure it there.

    Afterwards the virtual board is down; the bundle and the reports stay in DIR.
    """
    from rich.console import Console

    from labd_host.bundles.emulation_build import build_emulation
    from labd_host.dataflow.folding import load_folding
    from labd_host.networks import find_trained, trained_record
    from labd_host.networks import network as find_network
    from labd_host.remote.inventory import SHIPPED
    from labd_host.virtual_board import virtual_board

    if not (CHECKOUT / "fabfile.py").is_file():
        raise SetupError(
            "the demo types fab commands, and there is no fabfile.py here", fix="run it in a checkout"
        )
    steps: list[Step] = []
    entry = find_network(network)
    trained = trained_record(entry.name, find_trained(entry))
    out = out.absolute()
    bundle = out / f"{entry.name}-emu"
    # Only virtual boards, whatever inventory lies around: a demo must never touch somebody's board.
    environment = {**os.environ, "LABD_BOARDS": str(SHIPPED)}

    with _step(steps, f"labd build {network} --target emu -o {_short(bundle)}"):
        built = build_emulation(
            network, bundle, folding=load_folding("lab", entry.name), clock_mhz=DEFAULT_MHZ, say=_say
        )
    try:
        with _step(steps, f"labd board up {number}"):
            virtual_board.down(number)
            board = virtual_board.up(number, say=_say)
            _say(f"virtual board {number} is up at {board.host}:{board.port}")
        with _step(steps, f"fab deploy --board {number} --bundle {_short(bundle)}"):
            _fab(environment, "deploy", "--board", number, "--bundle", str(bundle))
        with _step(steps, f"fab validate --board {number} --batchsize {batchsize} --compare golden"):
            validation = _fab(
                environment,
                "validate",
                "--board",
                number,
                "--batchsize",
                str(batchsize),
                "--compare",
                "golden",
            )["report"]
        with _step(steps, f"fab throughput --board {number} --batchsize {batchsize}"):
            throughput = _fab(environment, "throughput", "--board", number, "--batchsize", str(batchsize))[
                "report"
            ]
    finally:
        with _step(steps, f"labd board down {number}"):
            virtual_board.down(number)

    files = {"bundle": bundle, "compiled stages": built.compiled.folder}
    for name, record in (("validation", validation), ("throughput", throughput)):
        files[name] = out / f"{entry.name}-{name}.json"
        files[name].write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    Console(highlight=False, soft_wrap=True).print(
        report(built.bundle.manifest, validation, throughput, steps, files, trained=trained)
    )


def _say(line: str) -> None:
    click.echo(f"  {line}", err=True)


def _short(path: Path) -> str:
    """*path* as a user in this folder would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@contextlib.contextmanager
def _step(steps: list[Step], command: str) -> Iterator[None]:
    click.echo(f"$ {command}", err=True)
    began_s = time.monotonic()
    yield
    steps.append(Step(command, time.monotonic() - began_s))


def _fab(environment: dict[str, str], task: str, *options: str) -> dict[str, Any]:
    """Run a fab task as a user does, its talk passed through; the first board's result.

    Raises:
        LabdError: what ended the task, the class it was.
        BoardError: it ended in another way, or not in time.
    """
    command = [
        str(Path(sys.executable).with_name("fab")),
        "--search-root",
        str(CHECKOUT),
        task,
        *options,
        "--json",
    ]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            answer, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT_S)
            process.kill()
            raise
    return _result(task, process.returncode, answer)


def _result(task: str, code: int, answer: str) -> dict[str, Any]:
    try:
        outcome = json.loads(answer)["boards"][0]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BoardError(
            f"fab {task} ended with {code} and no result", fix=f"fab {task} --board 03"
        ) from error
    if not outcome.get("ok"):
        raised = find_error(json.dumps({"labd_error": outcome.get("error")}))
        raise raised or LabdError(f"fab {task} failed: {outcome}")
    result = outcome["result"]
    return dict(result)
