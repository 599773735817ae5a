"""``labd evaluate``: the accuracy of a network on this machine, before any board."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from labd_shared.errors import UsageError

Run = Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Evaluation:
    """What one form of a network scores on a data set's test split."""

    what: str
    computed_by: str
    dataset: str
    samples: int
    correct: int
    accuracy_percent: float
    interval95_percent: tuple[float, float]
    seconds: float


@click.command()
@click.argument("network", metavar="NETWORK|MODEL.onnx|network.npz|BUNDLE")
@click.option("--dataset", help="Data set (default: the one the network is for).")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def evaluate(network: str, dataset: str | None, limit: int | None, as_json: bool) -> None:
    """Measure NETWORK on the test split: an export with onnxruntime, a bundle with its golden model."""
    rows = evaluations(network, dataset, limit)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2, sort_keys=True))
        return
    for row in rows:
        low, high = row.interval95_percent
        click.echo(
            f"{row.accuracy_percent:.2f} %  {row.correct} of {row.samples} {row.dataset} test images, "
            f"95 % interval {low:.2f} to {high:.2f}  ({row.what}, {row.computed_by}, {row.seconds:.1f} s)"
        )


def evaluations(network: str, dataset: str | None, limit: int | None) -> list[Evaluation]:
    """Measure every form of *network* that there is; see `evaluate`.

    Raises:
        UsageError: no such network or file, or a file whose data set is not known.
        DataMissing: the data set is not to be had.
        ArtifactError: a file is damaged.
    """
    from labd_host import datasets
    from labd_shared.answers import predicted_classes
    from labd_shared.datasets import dataset_spec
    from labd_shared.statistics import wilson_interval

    forms, usual = _forms(network)
    name = dataset or usual
    if name is None:
        raise UsageError(
            f"the data set of {network} is not known", fix=f"labd evaluate {network} --dataset mnist"
        )
    dataset_spec(name)
    images, labels = datasets.load(name, "test")
    images, labels = images[:limit], labels[:limit]
    rows = []
    for what, computed_by, run in forms:
        began_s = time.monotonic()
        correct = int((predicted_classes(run(images)) == labels).sum())
        low, high = wilson_interval(correct, len(labels))
        rows.append(
            Evaluation(
                what,
                computed_by,
                name,
                len(labels),
                correct,
                100.0 * correct / len(labels),
                (100.0 * low, 100.0 * high),
                time.monotonic() - began_s,
            )
        )
    return rows


def _forms(network: str) -> tuple[list[tuple[str, str, Run]], str | None]:
    """What can be measured of *network* (what, computed by whom, how) and its usual data set."""
    from labd_host import networks

    path = Path(network)
    if path.suffix == ".onnx":
        known = networks.NETWORKS.get(path.stem)
        return [(path.name, "onnxruntime", _exported(path))], known.dataset if known else None
    if path.suffix == ".npz":
        return [(path.name, "golden model", _golden(path))], None
    if path.is_dir() or path.suffix == ".zip":
        from labd_shared.bundle import open_bundle

        bundle = open_bundle(path)
        model = _golden(bundle.path("network.npz"))
        return [(f"bundle {bundle.manifest.network}", "golden model", model)], bundle.manifest.dataset
    entry = networks.network(network)
    return [(entry.name, "onnxruntime", _exported(networks.trained_onnx(entry.name)))], entry.dataset


def _exported(path: Path) -> Run:
    from labd_host.networks.exported import Exported

    return Exported(path).run


def _golden(path: Path) -> Run:
    from labd_host.emulation.golden import GoldenModel

    model = GoldenModel.load(path)
    return lambda images: model.run(images).outputs[0]
