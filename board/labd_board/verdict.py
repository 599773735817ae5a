"""What a finished validation says: the report, what changed between passes, whether it is good enough."""

from typing import Any, Dict, List, Optional

import numpy as np

from labd_board.accelerator import Accelerator
from labd_board.session import Dataset
from labd_board.tally import Tally
from labd_shared import __version__
from labd_shared.answers import predicted_classes
from labd_shared.bundle import Golden
from labd_shared.dataset_table import UNKNOWN_LABEL
from labd_shared.digest import image_digest
from labd_shared.errors import AccuracyTooLow, AnswersVary, ClassWrong, GoldenMismatch
from labd_shared.files import replacing
from labd_shared.predictions import Predictions
from labd_shared.score import score, score_lines

RERUNS = 3  # of an image whose answer changed between passes
MAX_RERUN = 100  # such images


def report_of(accelerator: Accelerator, dataset: Dataset, tally: Tally) -> Dict[str, Any]:
    """The report of a finished run, JSON-able: `labd_shared.score.score` of the first pass, times and
    where they come from."""
    manifest = accelerator.manifest
    spent = tally.seconds
    told = ("pack_s", "flush_s", "wait_s", "invalidate_s", "unpack_s")
    labels = dataset.labels[: tally.frames].astype(np.int64)
    labelled = int((labels != UNKNOWN_LABEL).sum())
    report = score(dataset.spec, labels, tally.best)
    report.update(
        network=manifest.network,
        dataset=dataset.name,
        split=dataset.split,
        notes=list(dataset.notes),
        target=manifest.target,
        passes=len(tally.passes),
        accuracy_percent_by_pass=[
            100.0 * int((classes == labels).sum()) / labelled if labelled else None
            for classes in tally.passes
        ],
        batchsize=accelerator.batch_size,
        double_buffered=accelerator.overlaps,
        clock_requested_mhz=manifest.clock_mhz,
        clock_mhz=accelerator.clock_mhz,
        accelerator_s=spent["run_s"],
        prepare_s=spent["pack_s"] + spent["flush_s"],
        finish_s=spent["invalidate_s"] + spent["unpack_s"],
        wall_s=spent["wall_s"],
        time_s=dict(
            {part[:-2]: spent[part] for part in told},
            rest=max(spent["wall_s"] - sum(spent[part] for part in told), 0.0),
        ),
        timing=accelerator.device.timing,
        changed=None,
        agreement=None,
    )
    return report


def changed_answers(accelerator: Accelerator, dataset: Dataset, tally: Tally) -> Dict[str, Any]:
    """Which images got different answers in different passes, and what each says alone.

    Returns:
        ``count``; ``rerun``: of the first hundred their row, label, classes by pass and those of three runs
        of the image alone; ``steady_alone``: how many of those then always gave the same.
    """
    rows = np.flatnonzero((tally.passes != tally.passes[0]).any(axis=0))
    image = np.empty((1, dataset.frame_values), dataset.dtype)
    rerun = []
    for row in rows[:MAX_RERUN].tolist():
        dataset.read_into(row, image)
        classes = len(dataset.spec.class_names)
        alone = [int(predicted_classes(accelerator.run(image), classes)[0]) for _ in range(RERUNS)]
        rerun.append(
            {
                "row": row,
                "label": int(dataset.labels[row]),
                "passes": tally.passes[:, row].tolist(),
                "alone": alone,
            }
        )
    steady = sum(len(set(entry["alone"])) == 1 for entry in rerun)
    return {"count": len(rows), "rerun": rerun, "steady_alone": steady}


def image_digests(dataset: Dataset, frames: int) -> np.ndarray:
    """The digests of the first *frames* images, uint64."""
    image = np.empty((1, dataset.frame_values), dataset.dtype)
    digests = np.empty(frames, np.uint64)
    for row in range(frames):
        dataset.read_into(row, image)
        digests[row] = image_digest(image.tobytes())
    return digests


def compare(digests: np.ndarray, predicted: np.ndarray, golden: Golden) -> Dict[str, Any]:
    """How many predictions are the golden model's, matched by image digest, never by row.

    Returns:
        ``same``, ``different``, ``unknown``, rows of the first ten that differ, and of all that differ how
        many the golden model puts into each class.
    """
    places = np.searchsorted(golden.digests, digests)
    places[places == len(golden.digests)] = 0
    known = golden.digests[places] == digests
    wanted = golden.predictions[places].astype(np.int64)
    differs = known & (wanted != predicted)
    classes, numbers = np.unique(wanted[differs], return_counts=True)
    return {
        "same": int((known & ~differs).sum()),
        "different": int(differs.sum()),
        "unknown": int((~known).sum()),
        "first_different": np.flatnonzero(differs)[:10].tolist(),
        "different_by_class": {str(label): int(n) for label, n in zip(classes, numbers)},
    }


def predictions_of(
    accelerator: Accelerator, dataset: Dataset, tally: Tally, digests: np.ndarray
) -> Predictions:
    """The finished run as a predictions file has it."""
    manifest = accelerator.manifest
    return Predictions(
        about={
            "network": manifest.network,
            "dataset": dataset.name,
            "split": dataset.split,
            "target": manifest.target,
            "source": "labd_board.validate {} ({})".format(__version__, accelerator.device.timing),
        },
        row=np.arange(tally.frames),
        digest=digests,
        label=dataset.labels[: tally.frames],
        predicted=tally.passes[0],
        scores=tally.scores,
        passes=tally.passes if len(tally.passes) > 1 else None,
    )


def write_csv(path: str, predictions: Predictions, class_names: List[str]) -> None:
    """One line an image: row, digest, label and prediction with their names, whether it is right, and the
    class by pass where there were several."""
    import csv

    later = [] if predictions.passes is None else list(predictions.passes)
    with replacing(path) as making, making.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(
            ["row", "digest", "label", "label_name", "predicted", "predicted_name", "right"]
            + ["pass{}".format(number + 1) for number in range(len(later))]
        )
        for place, row in enumerate(predictions.row.tolist()):
            label, said = int(predictions.label[place]), int(predictions.predicted[place])
            writer.writerow(
                [row, "{:016x}".format(int(predictions.digest[place]))]
                + [label, class_names[label] if label >= 0 else "", said]
                + [class_names[said] if 0 <= said < len(class_names) else "", int(label == said)]
                + [int(classes[place]) for classes in later]
            )


def summary(report: Dict[str, Any]) -> List[str]:
    """The report for people."""
    wall_s = report["wall_s"]
    shares = {part: 100 * spent_s / wall_s if wall_s else 0.0 for part, spent_s in report["time_s"].items()}
    lines = ["", "{network} on {dataset} ({split} split, target {target})".format(**report)]
    lines += score_lines(report)
    lines += [
        "  clock       {clock_mhz:.2f} MHz, requested {clock_requested_mhz:.2f}".format(**report),
        "  accelerator {:.4f} s for all batches ({})".format(report["accelerator_s"], report["timing"]),
        "  end to end  {:.2f} s, {:.0f} images/s (wall clock of this process)".format(
            wall_s, report["samples"] * report["passes"] / wall_s if wall_s else 0.0
        ),
        "  of it       {:.0f} % reading and packing, {:.0f} % waiting for the accelerator, {:.0f} % unpacking, "
        "{:.0f} % the rest; {}".format(
            shares["pack"] + shares["flush"],
            shares["wait"],
            shares["invalidate"] + shares["unpack"],
            shares["rest"],
            "packing beside the run" if report["double_buffered"] else "one after the other",
        ),
    ]
    changed = report["changed"]
    if changed is not None:
        percents = ", ".join(
            "not judged" if percent is None else "{:.2f} %".format(percent)
            for percent in report["accuracy_percent_by_pass"]
        )
        again = "; {} of {} asked again alone kept to one answer".format(
            changed["steady_alone"], len(changed["rerun"])
        )
        lines.append(
            "  passes      {}; {} images changed their answer{}".format(
                percents, changed["count"], again if changed["count"] else ""
            )
        )
    agreement = report["agreement"]
    if agreement is not None:
        lines.append(
            "  golden      {same} of {total} answers are the golden model's, {different} not, {unknown} unknown".format(
                total=report["samples"], **agreement
            )
        )
    return lines


def judge(report: Dict[str, Any], min_accuracy: Optional[float]) -> None:
    """Raise what the report is not good enough for.

    Raises:
        AnswersVary: an image got different answers.
        ClassWrong, GoldenMismatch: answers are not the golden model's; of one class only, or of several.
        AccuracyTooLow: the accuracy is below *min_accuracy* percent.
    """
    changed, agreement = report["changed"], report["agreement"]
    if changed is not None and changed["count"]:
        first = changed["rerun"][0]
        raise AnswersVary(
            "{} of {} images got different answers in {} passes, first image {}: {}; alone: {}".format(
                changed["count"],
                report["samples"],
                report["passes"],
                first["row"],
                ", ".join(map(str, first["passes"])),
                ", ".join(map(str, first["alone"])),
            ),
            fix="timing or a stale buffer: python3 -m labd_board.selftest; then try a lower clock",
        )
    if agreement is not None and agreement["different"]:
        where = "first at image {}".format(agreement["first_different"][0])
        by_class = agreement["different_by_class"]
        if len(by_class) == 1 and agreement["different"] > 1:
            label = int(next(iter(by_class)))
            raise ClassWrong(
                "{} of {} answers differ from the golden model's, and all of them should be class {} ({}), {}".format(
                    agreement["different"],
                    report["samples"],
                    label,
                    report["per_class"][label]["name"],
                    where,
                ),
                fix="the last layer's weights or thresholds of that class: build or deploy the bundle again",
                label=label,
            )
        raise GoldenMismatch(
            "{} of {} answers differ from the golden model's, {}".format(
                agreement["different"], report["samples"], where
            ),
            fix="run the golden samples: python3 -m labd_board.selftest",
        )
    if min_accuracy is not None and report["accuracy_percent"] < min_accuracy:
        raise AccuracyTooLow(
            "the accuracy is {:.2f} %, at least {:.2f} % was demanded".format(
                report["accuracy_percent"], min_accuracy
            ),
            fix="hardware or network? python3 -m labd_board.validate --compare golden tells",
        )
