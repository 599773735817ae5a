"""``python3 -m labd_board.validate``: the accuracy of the deployed accelerator on a data set."""

import argparse
import sys
import time
from typing import Any, Callable, Dict, List, Optional

import numpy as np

import labd_board
from labd_board import session
from labd_board.accelerator import Accelerator
from labd_board.command import Arguments, Output, positive, run
from labd_board.device import Device
from labd_board.session import Dataset
from labd_board.tally import Keeper, Tally, new_tally, run_key
from labd_shared.answers import predicted_classes
from labd_shared.bundle import Golden, load_golden
from labd_shared.digest import image_digest
from labd_shared.errors import (
    AccuracyTooLow,
    AnswersVary,
    ArtifactError,
    ClassWrong,
    DmaTimeout,
    GoldenMismatch,
    UsageError,
)
from labd_shared.files import check_writable, replacing
from labd_shared.predictions import Predictions, save_predictions
from labd_shared.score import score, score_lines
from labd_shared.tensors import count

Say = Callable[[str], None]

TELL_EVERY_S = 2.0  # how much time is left
RERUNS = 3  # of an image whose answer changed between passes
MAX_RERUN = 100  # such images


def validate(
    accelerator: Accelerator,
    dataset: Dataset,
    tally: Tally,
    recover: bool = False,
    say: Say = lambda line: None,
    progress: Say = lambda line: None,
    keep: Callable[[Tally], None] = lambda tally: None,
    monotonic_s: Callable[[], float] = time.perf_counter,
) -> None:
    """Classify the images that *tally* lacks, batch by batch, pass by pass.

    Args:
        accelerator: Open.
        dataset: Packed, streamed.
        tally: Empty, or what a killed run left.
        recover: After a deadline program the bitfile again and repeat the batch, once.
        say: Told one line a batch, as FINN's validate.py prints it.
        progress: Told how much time is left.
        keep: Given the tally after each batch.
        monotonic_s: The wall clock, for tests.

    Raises:
        UsageError: data set and network do not fit each other.
        DmaTimeout: a run did not end in time, with *recover* twice in the same place.
    """
    check_fits(accelerator, dataset)
    clock = _TimeLeft(tally, progress, monotonic_s)
    given_up_at = -1
    while tally.done < tally.total:
        try:
            _one_pass(accelerator, dataset, tally, say, keep, clock)
        except DmaTimeout as error:
            if not recover or tally.done == given_up_at:
                raise
            given_up_at = tally.done
            progress("{}; programming it again".format(error.what))
            accelerator.recover()
    tally.check()


def _one_pass(
    accelerator: Accelerator,
    dataset: Dataset,
    tally: Tally,
    say: Say,
    keep: Callable[[Tally], None],
    clock: "_TimeLeft",
) -> None:
    """What is left of the pass that *tally* stands in."""
    number, first = divmod(tally.done, tally.frames)
    if len(tally.passes) > 1:
        say("pass {} / {}".format(number + 1, len(tally.passes)))
    batches = -(-tally.frames // accelerator.batch_size)
    labels = dataset.labels
    right = int((tally.passes[number, :first] == labels[:first]).sum())
    for start, answers, times in accelerator.stream(dataset, tally.frames, first):
        tally.add(number, start, answers, times)
        seen = start + len(answers)
        right += int((tally.passes[number, start:seen] == labels[start:seen]).sum())
        batch = -(-seen // accelerator.batch_size)
        say("batch {} / {} : total OK {} NOK {}".format(batch, batches, right, seen - right))
        clock.tick()
        keep(tally)


class _TimeLeft(object):
    """Adds up the wall time of a run, and tells now and then how much is left."""

    def __init__(self, tally: Tally, progress: Say, monotonic_s: Callable[[], float]) -> None:
        self._tally, self._progress, self._monotonic_s = tally, progress, monotonic_s
        self._done = tally.done
        self._began_s = self._last_s = self._told_s = monotonic_s()

    def tick(self) -> None:
        """After a batch."""
        now_s = self._monotonic_s()
        self._tally.seconds["wall_s"] += now_s - self._last_s
        self._last_s = now_s
        fresh, left = self._tally.done - self._done, self._tally.total - self._tally.done
        if left and now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._progress(
                "{} of {} images, about {:.0f} s left".format(
                    self._tally.done, self._tally.total, (now_s - self._began_s) / fresh * left
                )
            )


def check_fits(accelerator: Accelerator, dataset: Dataset) -> None:
    """See to it that the network takes images of the data set's size.

    Raises:
        UsageError: it does not.
    """
    manifest = accelerator.manifest
    wanted = count(manifest.inputs[0].normal)
    if wanted != dataset.frame_bytes:
        raise UsageError(
            "{} has images of {} values, {} takes {}".format(
                dataset.name, dataset.frame_bytes, manifest.network, wanted
            ),
            fix="use the data set it was trained for: --dataset {}".format(manifest.dataset),
        )


def report_of(accelerator: Accelerator, dataset: Dataset, tally: Tally) -> Dict[str, Any]:
    """The report of a finished run, JSON-able: `labd_shared.score.score` of the first pass, times and
    where they come from."""
    manifest = accelerator.manifest
    spent = tally.seconds
    told = ("pack_s", "flush_s", "wait_s", "invalidate_s", "unpack_s")
    report = score(dataset.spec, dataset.labels[: tally.frames].astype(np.int64), tally.best)
    report.update(
        network=manifest.network,
        dataset=dataset.name,
        split=dataset.split,
        target=manifest.target,
        passes=len(tally.passes),
        accuracy_percent_by_pass=[
            100.0 * int((classes == dataset.labels[: tally.frames]).sum()) / tally.frames
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
    image = np.empty((1, dataset.frame_bytes), np.uint8)
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
    image = np.empty((1, dataset.frame_bytes), np.uint8)
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
            "source": "labd_board.validate {} ({})".format(labd_board.__version__, accelerator.device.timing),
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
                + [label, class_names[label], said]
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
        percents = ", ".join("{:.2f} %".format(percent) for percent in report["accuracy_percent_by_pass"])
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


def body(wanted: argparse.Namespace, device: Device, output: Output) -> None:
    """The command."""
    for path in (wanted.predictions, wanted.csv):
        check_writable(path)
    bundle = session.find_bundle(wanted.bundle)
    golden = load_golden(bundle) if wanted.compare == "golden" else None
    if golden is not None and not len(golden.digests):
        raise ArtifactError(
            "the bundle holds no predictions to compare with",
            fix="build it where the data set is: labd build {} --target {} -o DIR".format(
                bundle.manifest.network, bundle.manifest.target
            ),
        )
    with session.find_dataset(
        wanted.dataset or bundle.manifest.dataset, wanted.data, bundle.manifest
    ) as dataset:
        frames = min(dataset.count, wanted.limit or dataset.count)
        with session.held_board(), Accelerator(
            bundle, device, wanted.batchsize, say=output.progress
        ) as accelerator:
            check_fits(accelerator, dataset)
            tally = new_tally(accelerator, dataset, frames, wanted.passes)
            keeper = Keeper(session.runs_folder(), run_key(accelerator, dataset, frames, wanted.passes))
            _take_up(keeper, tally, wanted.resume, output.progress)
            try:
                validate(
                    accelerator, dataset, tally, wanted.recover, output.line, output.progress, keeper.keep
                )
            except BaseException:  # also an interrupt: what was counted is not lost
                keeper.save(tally)
                raise
            keeper.forget()
            report = report_of(accelerator, dataset, tally)
            output.line("Final accuracy: {:f}".format(report["accuracy_percent"]))
            if wanted.passes > 1:
                report["changed"] = changed_answers(accelerator, dataset, tally)
        if golden is not None or wanted.predictions or wanted.csv:
            digests = image_digests(dataset, frames)
            predictions = predictions_of(accelerator, dataset, tally, digests)
            if golden is not None:
                report["agreement"] = compare(digests, tally.passes[0], golden)
            if wanted.predictions:
                save_predictions(wanted.predictions, predictions)
            if wanted.csv:
                write_csv(wanted.csv, predictions, list(dataset.spec.class_names))
    for line in summary(report):
        output.line(line)
    output.result(report)
    judge(report, wanted.min_accuracy)


def _take_up(keeper: Keeper, tally: Tally, resume: bool, progress: Say) -> None:
    """Continue a killed run if that is wanted and there is one; say if there is one and it is not."""
    if not keeper.there():
        if resume:
            progress("nothing to resume: no run of this bundle on these images was left unfinished")
        return
    if not resume:
        progress("a run of these images was left unfinished; --resume goes on with it")
        return
    try:
        keeper.restore(tally)
    except ArtifactError as error:
        progress("starting over: {}".format(error.what))
        return
    progress("resumed: {} of {} images were counted before".format(tally.done, tally.total))


def main(argv: Optional[List[str]] = None, device: Optional[Device] = None) -> int:
    """Run the command; the exit code."""
    parser = Arguments("validate", "The accuracy of the deployed accelerator on a data set's test split.")
    parser.add_dataset()
    parser.add_batchsize()
    parser.add_argument(
        "--compare", choices=["golden"], help="compare each answer with the golden model's prediction"
    )
    parser.add_argument(
        "--min-accuracy", type=float, metavar="PERCENT", help="exit with 7 below this accuracy"
    )
    parser.add_argument(
        "--passes",
        type=positive,
        default=1,
        metavar="N",
        help="go through the images N times; what changes its answer is asked again, alone, and exits with 7",
    )
    parser.add_argument(
        "--predictions", metavar="FILE.npz", help="write what was said of each image, with its digest"
    )
    parser.add_argument("--csv", metavar="FILE.csv", help="the same as a table")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a killed run of the same bundle and images"
    )
    parser.add_argument(
        "--recover",
        action="store_true",
        help="after a deadline program the bitfile again and repeat the batch, once",
    )
    return run(parser, body, argv, device)


if __name__ == "__main__":
    sys.exit(main())
