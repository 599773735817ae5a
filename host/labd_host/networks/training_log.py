"""The log a training leaves, ``log.json``: an entry an epoch. Read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labd_shared.records import Origin, Value, read_json

LOG_FILE = "log.json"
MAX_LOG_BYTES = 1 << 24  # of 40,000 epochs and more


@dataclass(frozen=True)
class Epoch:
    """One finished epoch.

    Attributes:
        number: Counted from 1.
        loss: Mean cross-entropy over its steps.
        train_percent: Images of those steps that were classified correctly, seen as the training sees them.
        validation_percent: Of the images split off, at its end.
        learning_rate: Of its last step.
    """

    number: int
    loss: float
    train_percent: float
    validation_percent: float
    learning_rate: float


def read_log(path: Path) -> list[Epoch]:
    """The epochs in *path*, in order.

    Raises:
        ArtifactError: it is missing or too large, or an entry of it is wrong.
    """
    entries = read_json(path, MAX_LOG_BYTES, Origin(str(path), "labd train again")).list()
    return [_epoch(entry, number) for number, entry in enumerate(entries, 1)]


def _epoch(entry: Value, number: int) -> Epoch:
    known = entry.fields(("epoch", "loss", "train_percent", "validation_percent", "learning_rate"), None)
    if known["epoch"].integer() != number:
        known["epoch"].refuse(f"{number} (epochs count from 1)")
    return Epoch(
        number=number,
        loss=known["loss"].number(),
        train_percent=known["train_percent"].number(0, 100),
        validation_percent=known["validation_percent"].number(0, 100),
        learning_rate=known["learning_rate"].number(0),
    )


def best_epoch(epochs: list[Epoch]) -> Epoch:
    """The epoch a training keeps: of the best ones the last, as the smaller step has settled it."""
    return max(epochs, key=lambda epoch: (epoch.validation_percent, epoch.number))
