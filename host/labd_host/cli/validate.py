"""``labd validate``: what a board would score, computed on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from labd_shared.errors import UsageError


@click.command()
@click.argument("network", metavar="NETWORK|MY.toml|BUNDLE|DIR|network.npz")
@click.option("--dataset", help="Data set (default: the one the network is for).")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N images.")
@click.option("--predictions", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.npz",
              help="Write what it says of each image, for labd compare.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def validate(
    network: str, dataset: str | None, limit: int | None, predictions: Path | None, as_json: bool
) -> None:
    """Validate NETWORK on the test split with the golden model: the accelerator's own integers.

    The report is that of a board's validate: accuracy, top-5, coarse classes, by class, what is
    confused. A network of the table is compiled first and kept in the cache. For an export's
    floating-point arithmetic, before FINN: labd evaluate.
    """
    from labd_host.judge.classifiers import golden
    from labd_host.judge.scoring import lines, scored
    from labd_shared.predictions import save_predictions

    result = scored(golden(network, lambda line: click.echo(line, err=True)), dataset, limit)
    if predictions is not None:
        try:
            save_predictions(predictions, result.predictions)
        except OSError as error:
            raise UsageError(
                f"{predictions} cannot be written: {error.strerror}", fix="choose another file"
            ) from error
    click.echo(
        json.dumps(result.report, indent=2, sort_keys=True) if as_json else "\n".join(lines(result.report))
    )
