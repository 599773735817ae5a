"""How good predictions are: what validate counts, on a board and on the host, and how it is told."""

from typing import Any, Dict, List, Optional

import numpy as np

from labd_shared.dataset_table import UNKNOWN_LABEL, DatasetSpec
from labd_shared.statistics import wilson_interval

WORST = 5  # classes and confusions that the text shows; the report has all of them
FEW_CLASSES = 10  # so many are all shown


def score(spec: DatasetSpec, labels: np.ndarray, best: np.ndarray) -> Dict[str, Any]:
    """Count what is right.

    Args:
        spec: The data set: its classes, and its coarse ones where it has such.
        labels: ``(n,)``, the true classes, `UNKNOWN_LABEL` where nobody knows: those images are not judged.
        best: ``(n, k)``, what the network says, best first (`labd_shared.answers.best_classes`).

    Returns:
        JSON-able: ``samples``, ``correct``, ``accuracy_percent`` with ``interval95_percent`` (None where no
        image has a label), ``top5_*`` (None unless *best* has five columns), ``coarse_*`` (None without coarse
        classes), ``per_class``, ``confusion`` (row: true class, column: predicted one) and ``no_class``, the
        answers outside all classes.
    """
    classes = len(spec.class_names)
    samples, judged = len(labels), labels != UNKNOWN_LABEL
    no_class = int(((best[:, 0] < 0) | (best[:, 0] >= classes)).sum())
    labels, best = labels[judged], best[judged]
    predicted = best[:, 0]
    right = predicted == labels
    hits = int(right.sum())
    interval = [100.0 * edge for edge in wilson_interval(hits, len(labels))] if len(labels) else None
    known = (predicted >= 0) & (predicted < classes)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels[known], predicted[known]), 1)
    report: Dict[str, Any] = {
        "samples": samples,
        "correct": hits,
        "accuracy_percent": _percent(hits, len(labels)),
        "interval95_percent": interval,
        "per_class": _per_class(spec, labels, right),
        "confusion": confusion.tolist(),
        "no_class": no_class,
    }
    top5 = int((best[:, :5] == labels[:, np.newaxis]).any(axis=1).sum()) if best.shape[1] >= 5 else None
    coarse = None
    if spec.coarse_names:
        wanted = spec.coarse_labels(labels[known])
        coarse = int((spec.coarse_labels(predicted[known]) == wanted).sum())
    for name, count in (("top5", top5), ("coarse", coarse)):
        report[name + "_correct"] = count
        report[name + "_accuracy_percent"] = None if count is None else _percent(count, len(labels))
    return report


def _per_class(spec: DatasetSpec, labels: np.ndarray, right: np.ndarray) -> List[Dict[str, Any]]:
    places = labels.astype(np.intp)  # bincount takes no int64 where a word has 32 bits, as on the boards
    totals = np.bincount(places, minlength=len(spec.class_names))
    hits = np.bincount(places[right], minlength=len(spec.class_names))
    return [
        {
            "label": label,
            "name": name,
            "samples": int(totals[label]),
            "correct": int(hits[label]),
            "accuracy_percent": _percent(int(hits[label]), int(totals[label])),
        }
        for label, name in enumerate(spec.class_names)
    ]


def _percent(hits: int, samples: int) -> Optional[float]:
    return 100.0 * hits / samples if samples else None


def score_lines(report: Dict[str, Any]) -> List[str]:
    """The report of `score` for people: accuracies, then all classes or the worst, then what is confused."""
    if report["accuracy_percent"] is None:
        return [
            "  images      {samples}".format(**report),
            "  accuracy    not judged: the data set has no labels",
        ]
    low, high = report["interval95_percent"]
    lines = [
        "  images      {samples}, {correct} right".format(**report),
        "  accuracy    {:.2f} %  (95 % interval {:.2f} to {:.2f})".format(
            report["accuracy_percent"], low, high
        ),
    ]
    if report["top5_correct"] is not None:
        lines.append("  top-5       {top5_accuracy_percent:.2f} %, {top5_correct} right".format(**report))
    if report["coarse_correct"] is not None:
        lines.append("  coarse      {coarse_accuracy_percent:.2f} %, {coarse_correct} right".format(**report))
    if report["no_class"]:
        lines.append("  no class    {no_class} answers are no class of the data set".format(**report))
    seen = [entry for entry in report["per_class"] if entry["samples"]]
    if len(seen) > FEW_CLASSES:
        seen = sorted(seen, key=lambda entry: entry["accuracy_percent"])[:WORST]
        lines.append("  the {} worst of {} classes".format(len(seen), len(report["per_class"])))
    else:
        lines.append("  by class")
    width = max([len(entry["name"]) for entry in seen] or [0])
    lines += [
        "    {:{}}  {:6.2f} %  {} of {}".format(
            entry["name"], width, entry["accuracy_percent"], entry["correct"], entry["samples"]
        )
        for entry in seen
    ]
    mistaken = most_confused(report)
    if mistaken:
        lines.append("  most often mistaken: " + ", ".join(mistaken))
    return lines


def most_confused(report: Dict[str, Any], most: int = WORST) -> List[str]:
    """The commonest mistakes of `score`'s report, "cat for dog (57)", the commonest first."""
    names = [entry["name"] for entry in report["per_class"]]
    wrong = np.array(report["confusion"], np.int64)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="mergesort")[:most]
    places = [divmod(int(place), len(names)) for place in order]
    return [
        "{} for {} ({})".format(names[true], names[said], wrong[true, said])
        for true, said in places
        if wrong[true, said]
    ]
