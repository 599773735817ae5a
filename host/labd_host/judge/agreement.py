"""Where two runs over one data set differ, image by image.

Images are matched by their digest, never by their place: archives of one data set differ in order. A
picture that a data set holds twice is matched twice, in order.

Source of the test of chance: Q. McNemar, Psychometrika 12 (1947), 153-157, in its exact form: of the
images on which exactly one run is right, either run is as likely to be the right one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from labd_shared.dataset_table import UNKNOWN_LABEL
from labd_shared.errors import UsageError
from labd_shared.predictions import Predictions

NO_CHANCE = 1e-12  # smaller ones are not told apart


@dataclass(frozen=True)
class Difference:
    """An image of which the runs say different classes.

    Attributes:
        digest: Of the image.
        row: Its place in the first run.
        label: The true class, `UNKNOWN_LABEL` where nobody knows it.
        said: Class, by run.
        scores: Of every class, by run; None of a run that gives none.
    """

    digest: int
    row: int
    label: int
    said: tuple[int, int]
    scores: tuple[tuple[int, ...] | None, tuple[int, ...] | None]


@dataclass(frozen=True)
class ClassChange:
    """How a class fares in both runs: images of it in both, and how many of them are right, by run."""

    label: int
    samples: int
    correct: tuple[int, int]

    @property
    def change(self) -> int:
        """How many more are right in the second run."""
        return self.correct[1] - self.correct[0]


@dataclass(frozen=True)
class Comparison:
    """Two runs over one data set.

    Attributes:
        about: Of each run, as in its predictions.
        matched: Images in both.
        alone: Images in one run only, by run.
        differences: In the first run's order.
        classes: Of every class that a matched image belongs to.
    """

    about: tuple[Mapping[str, str], Mapping[str, str]]
    matched: int
    alone: tuple[int, int]
    differences: tuple[Difference, ...]
    classes: tuple[ClassChange, ...]

    @property
    def labelled(self) -> int:
        """Matched images whose class is known."""
        return sum(each.samples for each in self.classes)

    @property
    def correct(self) -> tuple[int, int]:
        """Matched images that are right, by run."""
        return sum(each.correct[0] for each in self.classes), sum(each.correct[1] for each in self.classes)

    @property
    def right_alone(self) -> tuple[int, int]:
        """Images on which only this run is right, by run."""
        first, second = (sum(each.said[run] == each.label for each in self.differences) for run in (0, 1))
        return first, second

    @property
    def both_wrong(self) -> int:
        """Images of which each run says another wrong class."""
        known = [each for each in self.differences if each.label != UNKNOWN_LABEL]
        return sum(each.label not in each.said for each in known)

    @property
    def chance(self) -> float:
        """How likely so uneven a `right_alone` is if neither run is better (two-sided)."""
        fewer, more = sorted(self.right_alone)
        tail = sum(math.comb(fewer + more, count) for count in range(fewer + 1))
        return float(min(Fraction(1), Fraction(2 * tail, 1 << (fewer + more))))

    @property
    def verdict(self) -> str:
        """The chance in words; "" where no image is right in one run only."""
        if not sum(self.right_alone):
            return ""
        chance = f"{self.chance:.2g}" if self.chance > NO_CHANCE else f"less than {NO_CHANCE:g}"
        return (
            f"If neither were better, a split as uneven as {self.right_alone[0]} to {self.right_alone[1]} would "
            f"come about with probability {chance}."
        )

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "a": dict(self.about[0]),
            "b": dict(self.about[1]),
            "matched": self.matched,
            "only_in_a": self.alone[0],
            "only_in_b": self.alone[1],
            "labelled": self.labelled,
            "correct_a": self.correct[0],
            "correct_b": self.correct[1],
            "different": len(self.differences),
            "right_only_in_a": self.right_alone[0],
            "right_only_in_b": self.right_alone[1],
            "both_wrong": self.both_wrong,
            "chance": self.chance,
            "per_class": [
                {
                    "label": each.label,
                    "samples": each.samples,
                    "correct_a": each.correct[0],
                    "correct_b": each.correct[1],
                }
                for each in self.classes
            ],
            "differences": [
                {
                    "digest": f"{each.digest:016x}",
                    "row": each.row,
                    "label": each.label,
                    "a": each.said[0],
                    "b": each.said[1],
                }
                for each in self.differences
            ],
        }


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Match two runs image by image.

    Raises:
        UsageError: they are of different data sets, have no image in common, or contradict each other
            about what an image shows.
    """
    names = first.about["dataset"], second.about["dataset"]
    if names[0] != names[1]:
        raise UsageError(
            f"A is about {names[0]}, B about {names[1]}", fix="compare two runs over one data set"
        )
    places = _places(second)
    pairs = [(place, places[key]) for key, place in _places(first).items() if key in places]
    if not pairs:
        raise UsageError(
            f"A has {len(first.row)} images, B {len(second.row)}, and none is in both",
            fix="compare two runs over the same split",
        )
    differences, samples = [], Counter[int]()
    right: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for here, there in pairs:
        label = _label(first, here, second, there)
        said = int(first.predicted[here]), int(second.predicted[there])
        if label != UNKNOWN_LABEL:
            samples[label] += 1
            for run in (0, 1):
                right[run][label] += said[run] == label
        if said[0] != said[1]:
            scores = _scores(first, here), _scores(second, there)
            differences.append(Difference(int(first.digest[here]), int(first.row[here]), label, said, scores))
    return Comparison(
        about=(first.about, second.about),
        matched=len(pairs),
        alone=(len(first.row) - len(pairs), len(second.row) - len(pairs)),
        differences=tuple(differences),
        classes=tuple(
            ClassChange(label, samples[label], (right[0][label], right[1][label]))
            for label in sorted(samples)
        ),
    )


def _places(predictions: Predictions) -> dict[tuple[int, int], int]:
    """The place of each image, by its digest and how often that was there before."""
    seen = Counter[int]()
    places = {}
    for place, digest in enumerate(predictions.digest.tolist()):
        places[digest, seen[digest]] = place
        seen[digest] += 1
    return places


def _label(first: Predictions, here: int, second: Predictions, there: int) -> int:
    labels = int(first.label[here]), int(second.label[there])
    known = [label for label in labels if label != UNKNOWN_LABEL]
    if len(set(known)) > 1:
        raise UsageError(
            f"image {int(first.digest[here]):016x} is of class {labels[0]} in A and of {labels[1]} in B",
            fix="compare two runs over one data set with the same labels",
        )
    return known[0] if known else UNKNOWN_LABEL


def _scores(predictions: Predictions, place: int) -> tuple[int, ...] | None:
    return None if predictions.scores is None else tuple(predictions.scores[place].tolist())


def class_name(label: int, names: Sequence[str]) -> str:
    """How a class is called: its name where it has one."""
    if label == UNKNOWN_LABEL:
        return "unknown"
    return names[label] if 0 <= label < len(names) else f"class {label}"
