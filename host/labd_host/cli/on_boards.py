"""The labd commands that run on boards: deploy, validate --board, throughput, selftest, classify, info, ...

Each is one call into `labd.board_commands`, as the fab task of its name, and gives the same JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from labd_host.cli.completion import board_numbers
from labd_host.cli.dataset_option import DATA

COMMAND_S = 900.0  # longest time a command on a board may take, unless told otherwise
WHOLE = click.IntRange(min=1)

boards_option = click.option(
    "--board",
    "boards",
    multiple=True,
    required=True,
    metavar="NN",
    shell_complete=board_numbers,
    help="Two digits; may be given several times.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
deadline_option = click.option(
    "--deadline", "deadline_s", type=click.FloatRange(min=0, min_open=True), default=COMMAND_S, show_default=True,
    metavar="S", help="Seconds the board may take.",
)  # fmt: skip


def run(work: Callable[..., Any], as_json: bool) -> None:
    """Do *work*, show what came of it, and end with its exit code where that is not 0."""
    from labd import board_console

    code = board_console.show(lambda listener: work(listener=listener), as_json=as_json)
    if code:
        raise SystemExit(code)


@click.command()
@boards_option
@click.option("--bundle", default="", metavar="DIR|FILE.zip",
              help="What to deploy (default: LABD_BUNDLE, then the last build of this folder).")  # fmt: skip
@click.option(
    "--validate", "then_validate", is_flag=True, help="Validate on the whole test split afterwards."
)
@json_option
def deploy(boards: tuple[str, ...], bundle: str, then_validate: bool, as_json: bool) -> None:
    """Deploy a bundle, run its golden samples, and go back by itself when they fail.

    A virtual board that is down is started.
    """
    from labd import board_commands

    run(partial(board_commands.deploy, boards, bundle=bundle), as_json)
    if then_validate:
        run(partial(board_commands.validate, boards, as_data=as_json), as_json)


@click.command()
@boards_option
@click.option("--batchsize", type=WHOLE, metavar="N", help="Frames a run.")
@click.option("--repeats", type=WHOLE, metavar="N", help="Timed runs.")
@click.option("--sweep", default="", metavar="N,N,...", help="These batch sizes as well: 1,100,10000.")
@deadline_option
@json_option
def throughput(
    boards: tuple[str, ...],
    batchsize: int | None,
    repeats: int | None,
    sweep: str,
    deadline_s: float,
    as_json: bool,
) -> None:
    """How fast the deployed accelerator is, and where each figure comes from."""
    from labd import board_commands
    from labd_host.remote import typed_values

    sizes = typed_values.counts("sweep", sweep)
    run(
        partial(
            board_commands.throughput, boards, batchsize=batchsize, repeats=repeats, sweep=sizes,
            deadline_s=deadline_s, as_data=as_json,
        ),
        as_json,
    )  # fmt: skip


@click.command()
@boards_option
@click.option("--passes", type=WHOLE, metavar="N", help="How often each sample is run.")
@deadline_option
@json_option
def selftest(boards: tuple[str, ...], passes: int | None, deadline_s: float, as_json: bool) -> None:
    """Does the board compute exactly what the golden model does?"""
    from labd import board_commands

    run(
        partial(board_commands.selftest, boards, passes=passes, deadline_s=deadline_s, as_data=as_json),
        as_json,
    )


@click.command()
@boards_option
@click.argument("pictures", nargs=-1, required=True, metavar="FILE|FOLDER...")
@click.option("--invert", is_flag=True, help="Dark for light, for digits drawn dark on light.")
@deadline_option
@json_option
def classify(
    boards: tuple[str, ...], pictures: tuple[str, ...], invert: bool, deadline_s: float, as_json: bool
) -> None:
    """What the deployed accelerator sees in pictures of this machine."""
    from labd import board_commands

    run(
        partial(
            board_commands.classify, boards, pictures, invert=invert, deadline_s=deadline_s, as_data=as_json
        ),
        as_json,
    )


@click.command()
@boards_option
@json_option
def info(boards: tuple[str, ...], as_json: bool) -> None:
    """What the board is and what is deployed on it."""
    from labd import board_commands

    run(partial(board_commands.info, boards, as_data=as_json), as_json)


@click.command()
@click.option(
    "--board", "boards", multiple=True, metavar="NN", help="Only these (default: all that can be seen)."
)
@json_option
def boards(boards: tuple[str, ...], as_json: bool) -> None:
    """Which boards there are, whether they answer, what runs on them, and who has them."""
    from labd import board_commands

    run(partial(board_commands.boards, boards), as_json)


@click.command()
@boards_option
@click.option("--fingerprint", default="", metavar="SHA256:...", help="Needed where nobody can be asked.")
@json_option
def enroll(boards: tuple[str, ...], fingerprint: str, as_json: bool) -> None:
    """Trust the host key a board presents, once it was compared."""
    from labd import board_commands, board_console

    ask = board_console.question()
    run(partial(board_commands.enroll, boards, fingerprint=fingerprint, ask=ask), as_json)


@click.command()
@boards_option
@json_option
def setup(boards: tuple[str, ...], as_json: bool) -> None:
    """Once per board: let its Python find the current release from any directory."""
    from labd import board_commands

    run(partial(board_commands.setup, boards), as_json)


@click.command()
@boards_option
@json_option
def rollback(boards: tuple[str, ...], as_json: bool) -> None:
    """Go back to the release before the current one."""
    from labd import board_commands

    run(partial(board_commands.rollback, boards), as_json)


@click.command()
@boards_option
@click.option("--dataset", default="mnist", show_default=True, metavar="DATA", help=f"{DATA}.")
@click.option(
    "--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Which part."
)
@json_option
def data(boards: tuple[str, ...], dataset: str, split: str, as_json: bool) -> None:
    """Send a data set to a board, when what it has differs."""
    from labd import board_commands

    run(partial(board_commands.data, boards, dataset=dataset, split=split), as_json)
