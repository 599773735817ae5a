"""How good a classifier is on a data set, wherever it ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labd.figure import Figure
from labd.shown import Shown, terminal
from labd_shared.score import score_lines

if TYPE_CHECKING:
    from rich.console import Console

    from labd_shared.predictions import Predictions


class Score(Shown):
    """A classifier's answers to a test split, counted.

    Attributes:
        origin: Who answered: "golden model", "onnxruntime", "measured on board 03", "virtual board 03".
        samples, correct: Images, and those classified correctly.
        predictions: What was said of each image; None where the board kept it.
    """

    def __init__(
        self, report: Mapping[str, Any], origin: str, predictions: Predictions | None = None
    ) -> None:
        self._report, self.origin, self.predictions = dict(report), origin, predictions
        self.samples, self.correct = int(report["samples"]), int(report["correct"])

    @property
    def accuracy_percent(self) -> Figure | None:
        """Images classified correctly, of a hundred; None where the data set has no labels."""
        percent = self._report["accuracy_percent"]
        return None if percent is None else Figure(percent, "%", self.origin)

    @property
    def interval95_percent(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy, for the whole population (Wilson); None without labels."""
        interval = self._report["interval95_percent"]
        return None if interval is None else (interval[0], interval[1])

    @property
    def top5_percent(self) -> Figure | None:
        """Images whose class is among the five best answers, of a hundred; None without scores."""
        percent = self._report.get("top5_accuracy_percent")
        return None if percent is None else Figure(percent, "%", self.origin)

    @property
    def confusion(self) -> list[list[int]]:
        """The confusion matrix: a row a true class, a column a predicted one."""
        matrix: list[list[int]] = self._report["confusion"]
        return matrix

    @property
    def record(self) -> dict[str, Any]:
        return dict(self._report)

    def summary(self) -> str:
        judged = f"{self._report['network']} on {self._report['dataset']}: "
        if self.accuracy_percent is None or self.interval95_percent is None:
            return f"{judged}{self.samples} images, not judged: they have no labels ({self.origin})"
        low, high = self.interval95_percent
        return (
            f"{judged}{float(self.accuracy_percent):.2f} %, "
            f"{self.correct} of {self.samples} images, 95 % interval {low:.2f} to {high:.2f} ({self.origin})"
        )

    def lines(self) -> list[str]:
        """The whole report for people: accuracy, classes, what is confused, time."""
        found = self._report
        lines = [
            "{network} on {dataset} ({split} split, target {target})".format(**found),
            *(f"  {note}" for note in found.get("notes") or ()),
            *score_lines(found),
        ]
        if found.get("wall_s"):
            lines.append(
                "  end to end  {:.2f} s, {:,.0f} images/s ({}, {})".format(
                    found["wall_s"], self.samples / found["wall_s"], self.origin, found["timing"]
                )
            )
        return lines

    def show(self, console: Console | None = None) -> None:
        (console or terminal()).print("\n".join(self.lines()), markup=False, soft_wrap=True)
