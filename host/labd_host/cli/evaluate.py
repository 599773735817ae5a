"""``labd evaluate``: the accuracy of a trained export on this machine, before FINN has touched it."""

from __future__ import annotations

import json

import click

from labd_host.cli.completion import networks_or_files
from labd_host.cli.dataset_option import DATA
from labd_shared.errors import UsageError


@click.command()
@click.argument("network", metavar="NETWORK|MY.toml|MODEL.onnx", shell_complete=networks_or_files)
@click.option("--dataset", metavar="DATA", help=f"Data set (default: the one the network is for): {DATA}.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N images.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, with the keys of labd validate.")
def evaluate(network: str, dataset: str | None, limit: int | None, as_json: bool) -> None:
    """Measure the export NETWORK on the test split with its own arithmetic: onnxruntime, floating point.

    This is what training achieved. What the accelerator will make of it, bit by bit: labd validate.
    """
    from labd.loading import load
    from labd.network import Network

    found = None if network.endswith(".npz") else load(network)
    if not isinstance(found, Network):
        raise UsageError(f"{network} is a golden model, not an export", fix=f"labd validate {network}")
    score = found.evaluate(dataset=dataset, limit=limit)
    if as_json:
        click.echo(json.dumps(score.record, indent=2, sort_keys=True))
        return
    report, interval = score.record, score.interval95_percent
    for note in report["notes"]:
        click.echo(note, err=True)
    if interval is None:
        click.echo(score.summary())
        return
    low, high = interval
    click.echo(
        f"{score.accuracy_percent:.2f} %  {score.correct} of {score.samples} {report['dataset']} test images, "
        f"95 % interval {low:.2f} to {high:.2f}  ({report['network']}, {report['source']}, {report['wall_s']:.1f} s)"
    )
