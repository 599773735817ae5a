"""What a network says, as a class."""

from typing import Any, Dict, List, Sequence

import numpy as np

from labd_shared.errors import UsageError
from labd_shared.tensors import count

CLASS, SIGN, VALUES = "class", "sign", "values"
"""What an accelerator gives: the best class (or a score for each), whether one score is above 0, or other values."""


def predicted_classes(answers: np.ndarray, classes: int = 0) -> np.ndarray:
    """The class of each frame, int64 ``(n,)``.

    Args:
        answers: ``(n, ...)``: one value a frame is the label itself (FINN's LabelSelect); several are
            scores, of which the highest wins, the lower index where two are equal.
        classes: How many classes there are. Several values, but fewer than that, are no scores: they
            are the best labels, best first (LabelSelect with k above 1).

    >>> predicted_classes(np.array([[1, 5, 5], [9, 0, 0]])).tolist()
    [1, 0]
    >>> predicted_classes(np.array([[1, 5, 3], [9, 0, 2]]), classes=10).tolist()
    [1, 9]
    """
    flat = answers.reshape(len(answers), count(answers.shape[1:]))
    return np.asarray(flat.argmax(axis=1) if gives_scores(flat.shape[1], classes) else flat[:, 0], np.int64)


def best_classes(answers: np.ndarray, classes: int, most: int = 5) -> np.ndarray:
    """The *most* best classes of each frame, best first, int64; as many as the network tells.

    Args:
        answers, classes: As of `predicted_classes`. Of equal scores the lower index comes first.

    >>> best_classes(np.array([[1, 5, 5, 0]]), 4, most=3).tolist()
    [[1, 2, 0]]
    """
    flat = answers.reshape(len(answers), count(answers.shape[1:])).astype(np.int64)
    if gives_scores(flat.shape[1], classes):
        flat = np.argsort(-flat, axis=1, kind="mergesort")  # stable, also in numpy 1.16
    return flat[:, :most]


def gives_scores(values: int, classes: int = 0) -> bool:
    """Whether *values* values a frame are scores, not labels."""
    return values > 1 and values >= classes


def check_judged_by_classes(network: str, answer: str, values: int, classes: int) -> None:
    """Check that what a network answers can be judged by the labels of a data set.

    Args:
        network: Its name.
        answer: One of `CLASS`, `SIGN`, `VALUES`.
        values: How many it gives for a frame.
        classes: Of the data set.

    Raises:
        UsageError: it cannot.
    """
    if answer == CLASS or (answer == SIGN and classes == 2) or (answer == VALUES and values == classes):
        return
    gives = "{} values for an image, not a class".format(values)
    if answer == SIGN:
        gives = "one yes or no for an image"
    raise UsageError(
        "{} gives {}: the labels of a data set with {} classes cannot judge it".format(
            network, gives, classes
        ),
        fix="name a data set of two classes with --dataset"
        if answer == SIGN
        else "check it by its golden samples instead (selftest)",
    )


def class_name(names: Sequence[str], label: int) -> str:
    """The name of class *label*, "no class" for one outside all classes."""
    return names[label] if 0 <= label < len(names) else "no class"


def class_lines(told: Sequence[Dict[str, Any]]) -> List[str]:
    """What `labd_board.classify` told of each picture, for people: its file and class, and the next best.

    >>> class_lines([{"file": "a.png", "class": "cat", "best": [{"class": "cat", "score": None}]}])
    ['a.png  cat']
    """
    width = max([len(each["file"]) for each in told] or [0])
    return ["{:{}}  {}{}".format(each["file"], width, each["class"], _others(each["best"])) for each in told]


def _others(best: Sequence[Dict[str, Any]]) -> str:
    if len(best) < 2:
        return ""
    shown = [
        "{}{}".format(one["class"], "" if one["score"] is None else " " + str(one["score"])) for one in best
    ]
    return "  ({})".format(", ".join(shown))
