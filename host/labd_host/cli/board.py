"""labd board: virtual boards up, down, and which run."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from labd_host.virtual_board import board_state
from labd_host.virtual_board.board_state import VirtualBoardState
from labd_host.virtual_board.logic_faults import FAULTS
from labd_shared.errors import UsageError

NO_FAULT = "none"


def _say(line: str) -> None:
    click.echo(line, err=True)


def _up(number: str, **options: Any) -> VirtualBoardState:
    """Start a board, and say what takes long."""
    from labd.progress import shown
    from labd_host.virtual_board import virtual_board

    with shown() as listener:
        return virtual_board.up(number, listener=listener, **options)


@click.group()
def board() -> None:
    """Virtual boards on this machine."""


@board.command()
@click.argument("number")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice([*sorted(FAULTS), NO_FAULT]),
    help="What goes wrong on the board; may be given more than once. A running board is told, too.",
)
@click.option("--idle-s", type=click.FloatRange(min=1.0), default=2 * 3600.0, show_default=True,
              help="End by itself when nobody was logged in for so long, seconds.")  # fmt: skip
def up(number: str, faults: tuple[str, ...], idle_s: float) -> None:
    """Start virtual board NUMBER (two digits) and wait until one can log in."""
    from labd_host.virtual_board import virtual_board

    if NO_FAULT in faults and len(faults) > 1:
        raise UsageError("'none' was given beside other faults", fix="give --fault none alone")
    was_up = board_state.load(number) is not None
    running = _up(number, faults=[fault for fault in faults if fault != NO_FAULT], idle_s=idle_s)
    if was_up and NO_FAULT in faults:
        virtual_board.set_faults(number, [])
    click.echo(f"virtual board {number} is up{' already' if was_up else ''} at {running.host}:{running.port}")
    if running.port != board_state.rule_port(number):
        _say(
            f"port {board_state.rule_port(number)}, which board {number} has by the rule, is taken by something else"
        )
    if faults:
        _say(f"faults: {', '.join(faults)}")


@board.command()
@click.argument("number")
def down(number: str) -> None:
    """End virtual board NUMBER and everything that runs on it."""
    from labd_host.virtual_board import virtual_board

    was_up = virtual_board.down(number)
    click.echo(f"virtual board {number} is down{'' if was_up else '; it was not up'}")


@board.command(context_settings={"ignore_unknown_options": True})
@click.argument("number")
@click.argument("command", nargs=-1, metavar="[COMMAND]...")
def ssh(number: str, command: tuple[str, ...]) -> None:
    """Open a shell on virtual board NUMBER, or run COMMAND there; a board that is down is started.

    The exit code is that of the shell or the command.
    """
    from labd_host.virtual_board import login

    running = board_state.load(number) or _up(number)
    raise SystemExit(login.ssh(running, command))


@board.command(name="list")
def list_boards() -> None:
    """List the virtual boards that run, and how to log in to them by hand."""
    from labd.shown import terminal
    from labd_host.virtual_board import login, virtual_board

    boards = virtual_board.running()
    if not boards:
        _say("no virtual board is up; start one: labd board up 03")
        return
    table = Table("board", "address", "user", "process", "since (UTC)", "root")
    for each in boards:
        table.add_row(
            each.board, f"{each.host}:{each.port}", each.user, str(each.pid), each.started, str(each.root)
        )
    terminal().print(table)
    for each in boards:
        click.echo(f"log in to {each.board}: labd board ssh {each.board}, or {login.command_line(each)}")
