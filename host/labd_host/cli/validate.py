"""``labd validate``: what a board scores; computed on this machine, or measured on boards."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from labd_host.cli.completion import board_numbers, networks_or_files
from labd_host.cli.dataset_option import DATA
from labd_host.cli.on_boards import WHOLE, deadline_option, json_option, run
from labd_shared.errors import UsageError

ON_BOARDS = (
    "batchsize",
    "compare",
    "min_accuracy",
    "passes",
    "resume",
    "recover",
)  # options for --board only


@click.command()
@click.argument(
    "network",
    required=False,
    metavar="[NETWORK|MY.toml|BUNDLE|DIR|network.npz]",
    shell_complete=networks_or_files,
)
@click.option("--board", "boards", multiple=True, metavar="NN", shell_complete=board_numbers,
              help="What is deployed on this board; may be given several times.")  # fmt: skip
@click.option("--dataset", metavar="DATA", help=f"Data set (default: the one the network is for): {DATA}.")
@click.option("--limit", type=WHOLE, metavar="N", help="Only the first N images.")
@click.option("--predictions", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.npz",
              help="Write what it says of each image, for labd compare.")  # fmt: skip
@click.option("--batchsize", type=WHOLE, metavar="N", help="--board: frames a run, any number.")
@click.option(
    "--compare", type=click.Choice(["golden"]), help="--board: each answer with the golden model's."
)
@click.option("--min-accuracy", type=click.FloatRange(0, 100), metavar="PERCENT",
              help="--board: exit with 7 below this.")  # fmt: skip
@click.option("--passes", type=WHOLE, metavar="N",
              help="--board: go through the images so often; an answer that changes exits with 7.")  # fmt: skip
@click.option(
    "--resume", is_flag=True, help="--board: go on with a killed run of the same bundle and images."
)
@click.option(
    "--recover", is_flag=True, help="--board: after a deadline program again and repeat the batch, once."
)
@deadline_option
@json_option
def validate(
    network: str | None, boards: tuple[str, ...], dataset: str | None, limit: int | None, predictions: Path | None,
    batchsize: int | None, compare: str | None, min_accuracy: float | None, passes: int | None, resume: bool,
    recover: bool, deadline_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Validate NETWORK on the test split with the golden model, or what is deployed on boards with --board.

    The golden model computes the accelerator's own integers, so that its report is that of a board: accuracy,
    top-5, coarse classes, by class, confusion. A network of the table is compiled first and kept in the cache.
    For an export's floating-point arithmetic, before FINN: labd evaluate.
    """
    if boards:
        from labd import board_commands

        if network is not None:
            raise UsageError(
                f"{network} was given beside --board, which validates what is deployed there",
                fix=f"labd deploy --board {boards[0]} --bundle {network} --validate",
            )
        work = partial(
            board_commands.validate, boards, dataset=dataset or "", batchsize=batchsize, limit=limit,
            compare=compare or "", min_accuracy=min_accuracy, passes=passes, resume=resume, recover=recover,
            predictions=str(predictions or ""), deadline_s=deadline_s, as_data=as_json,
        )  # fmt: skip
        run(work, as_json)
        return
    if network is None:
        raise UsageError("nothing was named", fix="labd validate NETWORK, or labd validate --board 03")
    on_boards = (batchsize, compare, min_accuracy, passes, resume, recover)
    given = [option for option, value in zip(ON_BOARDS, on_boards, strict=True) if value]
    if given:
        raise UsageError(f"{given[0]} is for boards", fix="add --board 03, or leave it out")
    _golden(network, dataset, limit, predictions, as_json)


def _golden(
    network: str, dataset: str | None, limit: int | None, predictions: Path | None, as_json: bool
) -> None:
    from labd.accuracy_score import Score
    from labd.progress import shown
    from labd_host.judge.classifiers import golden
    from labd_host.judge.scoring import scored
    from labd_shared.predictions import save_predictions

    with shown() as listener:
        result = scored(golden(network, listener, dataset), dataset, limit)
    if predictions is not None:
        try:
            save_predictions(predictions, result.predictions)
        except OSError as error:
            raise UsageError(
                f"{predictions} cannot be written: {error.strerror}", fix="choose another file"
            ) from error
    if as_json:
        click.echo(json.dumps(result.report, indent=2, sort_keys=True))
    else:
        Score(result.report, "golden model").show()
