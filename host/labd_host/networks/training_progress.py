"""What a training process tells the one that started it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step.

    Attributes:
        epoch, epochs: The epoch in work, counted from 1, and how many there are.
        step, steps: Steps done in it, and how many it has.
        loss: Mean cross-entropy over those steps.
        train_percent: Images of those steps that were classified correctly.
        validation_percent: Of the last finished epoch, None in the first.
        best_percent: Of the best finished epoch, None in the first.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    train_percent: float
    validation_percent: float | None
    best_percent: float | None

    @property
    def done_steps(self) -> int:
        """Steps done since the first epoch."""
        return (self.epoch - 1) * self.steps + self.step

    @property
    def all_steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps

    def __str__(self) -> str:
        text = (
            f"epoch {self.epoch} of {self.epochs}, loss {self.loss:.3f}, training {self.train_percent:.2f} %"
        )
        if self.validation_percent is None or self.best_percent is None:
            return text
        return f"{text}, validation {self.validation_percent:.2f} % (best {self.best_percent:.2f} %)"
