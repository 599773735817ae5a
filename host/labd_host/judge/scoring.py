"""How good a classifier is on a data set's test split: the report that a board's `validate` gives, from the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labd_host import datasets
from labd_host.judge.classifiers import Classifier
from labd_shared.digest import image_digest
from labd_shared.errors import UsageError
from labd_shared.predictions import Predictions
from labd_shared.score import score

SPLIT, TARGET = "test", "host"
# What only a board can fill in: a report has the same keys wherever it was made.
ONLY_ON_A_BOARD = (
    "batchsize",
    "double_buffered",
    "clock_requested_mhz",
    "clock_mhz",
    "accelerator_s",
    "prepare_s",
    "finish_s",
    "time_s",
    "changed",
    "agreement",
)


@dataclass(frozen=True, eq=False)
class Scored:
    """What came out.

    Attributes:
        report: JSON-able, with the keys of `labd_board.validate` and ``source``, who computed.
        predictions: Image by image.
    """

    report: dict[str, Any]
    predictions: Predictions


def scored(
    classifier: Classifier,
    dataset: str | None = None,
    limit: int | None = None,
    *,
    monotonic_s: Callable[[], float] = time.perf_counter,
) -> Scored:
    """Classify the test split.

    Args:
        classifier: The network.
        dataset: Another data set than the network's own.
        limit: Only the first images.
        monotonic_s: The clock, for tests.

    Raises:
        UsageError: nobody knows the data set.
        UnknownName: no such data set.
        DataMissing: it is not to be had.
        ShapeError, DataDamaged: its images are not what the network takes.
    """
    name = dataset or classifier.dataset
    if name is None:
        raise UsageError(f"the data set of {classifier.name} is not known", fix="say which: --dataset mnist")
    found = datasets.read(name, SPLIT, classifier.form)
    spec = found.spec
    images, labels = found.images[:limit], found.labels[:limit].astype(np.int32)
    began_s = monotonic_s()
    said = classifier.run(images, len(spec.class_names), datasets.Entering.of(spec))
    wall_s = monotonic_s() - began_s
    counted = score(spec, labels, said.best)
    report: dict[str, Any] = {
        "network": classifier.name,
        "dataset": name,
        "split": SPLIT,
        "target": TARGET,
        "source": classifier.source,
        **counted,
        "passes": 1,
        "accuracy_percent_by_pass": [counted["accuracy_percent"]],
        "notes": list(found.notes),
        **dict.fromkeys(ONLY_ON_A_BOARD),
        "wall_s": wall_s,
        "timing": "wall clock of this machine",
    }
    predictions = Predictions(
        about={key: report[key] for key in ("network", "dataset", "split", "target", "source")},
        row=np.arange(len(labels), dtype=np.int64),
        digest=np.array([image_digest(image.tobytes()) for image in images], np.uint64),
        label=labels,
        predicted=said.best[:, 0].astype(np.int32),
        scores=said.scores,
    )
    return Scored(report, predictions)
