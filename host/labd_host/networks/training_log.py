"""The log a training leaves, ``log.json``: an entry an epoch. Read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from labd_shared.errors import ArtifactError

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
        ArtifactError: it is missing, too large, or no log of a training.
    """
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        epochs = [
            Epoch(
                number=int(entry["epoch"]),
                loss=float(entry["loss"]),
                train_percent=float(entry["train_percent"]),
                validation_percent=float(entry["validation_percent"]),
                learning_rate=float(entry["learning_rate"]),
            )
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]
        if [epoch.number for epoch in epochs] != list(range(1, len(epochs) + 1)):
            raise ValueError("its epochs do not count from 1")
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(f"{path} is no log of a training: {reason}", fix="labd train again") from error
    return epochs


def best_epoch(epochs: list[Epoch]) -> Epoch:
    """The epoch a training keeps: of the best ones the last, as the smaller step has settled it."""
    return max(epochs, key=lambda epoch: (epoch.validation_percent, epoch.number))
