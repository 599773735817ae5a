"""``python3 -m labd_board.validate``: the accuracy of the deployed accelerator on a data set."""

import argparse
import sys
import time
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from labd_board import session
from labd_board.accelerator import Accelerator
from labd_board.command import Arguments, Output, run
from labd_board.device import Device
from labd_shared.answers import predicted_classes
from labd_shared.bundle import Golden, load_golden
from labd_shared.datasets import PackedDataset
from labd_shared.digest import image_digest
from labd_shared.errors import AccuracyTooLow, ArtifactError, GoldenMismatch, UsageError
from labd_shared.statistics import wilson_interval
from labd_shared.tensors import count


def validate(
    accelerator: Accelerator,
    dataset: PackedDataset,
    limit: Optional[int] = None,
    golden: Optional[Golden] = None,
    say: Callable[[str], None] = lambda line: None,
    monotonic_s: Callable[[], float] = time.perf_counter,
) -> Dict[str, Any]:
    """Classify the first *limit* images of *dataset* (all when None) and count.

    Args:
        accelerator: Open.
        dataset: Packed, streamed batch by batch.
        limit: How many images.
        golden: Compare each answer with the golden model's prediction for the image of that digest.
        say: Told one line a batch, as FINN's validate.py prints it.
        monotonic_s: The wall clock, for tests.

    Returns:
        JSON-able: counts, accuracy with its 95 % interval, times and where they come from.

    Raises:
        UsageError: data set and network do not fit each other.
        ArtifactError: *golden* holds no predictions.
    """
    manifest = accelerator.manifest
    source = manifest.inputs[0]
    if count(source.normal) != dataset.frame_bytes:
        raise UsageError(
            "{} has images of {} values, {} takes {}".format(
                dataset.name, dataset.frame_bytes, manifest.network, count(source.normal)
            ),
            fix="use the data set it was trained for: --dataset {}".format(manifest.dataset),
        )
    if golden is not None and len(golden.digests) == 0:
        raise ArtifactError(
            "the bundle holds no predictions to compare with",
            fix="build it where the data set is: labd build {} --target {} -o DIR".format(
                manifest.network, manifest.target
            ),
        )
    frames = min(dataset.count, limit or dataset.count)
    batches = -(-frames // accelerator.batch_size)
    right, coarse_right, run_s, prepare_s, finish_s = 0, 0, 0.0, 0.0, 0.0
    predictions = np.empty(frames, np.int64)
    began_s = monotonic_s()
    for batch, (start, answers, times) in enumerate(accelerator.stream(dataset, frames)):
        classes = predicted_classes(answers)
        predictions[start : start + len(classes)] = classes
        right += int((classes == dataset.labels[start : start + len(classes)]).sum())
        coarse_right += coarse_hits(dataset, classes, start)
        seen = start + len(classes)
        run_s += times.run_s
        prepare_s += times.prepare_s
        finish_s += times.finish_s
        say("batch {} / {} : total OK {} NOK {}".format(batch + 1, batches, right, seen - right))
    wall_s = monotonic_s() - began_s
    low, high = wilson_interval(right, frames)
    report = {
        "network": manifest.network,
        "dataset": dataset.name,
        "split": dataset.split,
        "target": manifest.target,
        "samples": frames,
        "correct": right,
        "accuracy_percent": 100.0 * right / frames,
        "interval95_percent": [100.0 * low, 100.0 * high],
        "coarse_correct": None if dataset.coarse is None else coarse_right,
        "coarse_accuracy_percent": None if dataset.coarse is None else 100.0 * coarse_right / frames,
        "batchsize": accelerator.batch_size,
        "clock_requested_mhz": manifest.clock_mhz,
        "clock_mhz": accelerator.clock_mhz,
        "accelerator_s": run_s,
        "prepare_s": prepare_s,
        "finish_s": finish_s,
        "wall_s": wall_s,
        "timing": accelerator.device.timing,
        "agreement": None,
    }  # type: Dict[str, Any]
    if golden is not None:
        report["agreement"] = compare(dataset, predictions, golden)
    say("Final accuracy: {:f}".format(report["accuracy_percent"]))
    return report


def coarse_hits(dataset: PackedDataset, classes: np.ndarray, start: int) -> int:
    """How many of *classes*, the answers from image *start* on, belong to the image's coarse class.

    0 where the data set has no coarse labels.
    """
    if dataset.coarse is None:
        return 0
    known = (classes >= 0) & (classes < len(dataset.spec.class_names))
    wanted = dataset.coarse[start : start + len(classes)][known]
    return int((dataset.spec.coarse_labels(classes[known]) == wanted).sum())


def compare(dataset: PackedDataset, predictions: np.ndarray, golden: Golden) -> Dict[str, Any]:
    """How many predictions are the golden model's, matched by image digest, never by row."""
    image = np.empty((1, dataset.frame_bytes), np.uint8)
    same, unknown = 0, 0
    differing: List[int] = []
    for index in range(len(predictions)):
        dataset.read_into(index, image)
        digest = np.uint64(image_digest(image.tobytes()))
        place = int(np.searchsorted(golden.digests, digest))
        if place == len(golden.digests) or golden.digests[place] != digest:
            unknown += 1
        elif int(golden.predictions[place]) == int(predictions[index]):
            same += 1
        else:
            differing.append(index)
    return {"same": same, "different": len(differing), "unknown": unknown, "first_different": differing[:10]}


def summary(report: Dict[str, Any]) -> List[str]:
    """The report in a few lines for people."""
    low, high = report["interval95_percent"]
    lines = [
        "",
        "{network} on {dataset} ({split} split, target {target})".format(**report),
        "  images      {samples}, {correct} right".format(**report),
        "  accuracy    {:.2f} %  (95 % interval {:.2f} to {:.2f})".format(
            report["accuracy_percent"], low, high
        ),
        "  clock       {clock_mhz:.2f} MHz, requested {clock_requested_mhz:.2f}".format(**report),
        "  accelerator {:.4f} s for all batches ({})".format(report["accelerator_s"], report["timing"]),
        "  end to end  {:.2f} s, {:.0f} images/s (wall clock of this process)".format(
            report["wall_s"], report["samples"] / report["wall_s"]
        ),
    ]
    if report["coarse_accuracy_percent"] is not None:
        lines.insert(
            4, "  coarse      {coarse_accuracy_percent:.2f} %, {coarse_correct} right".format(**report)
        )
    agreement = report["agreement"]
    if agreement is not None:
        lines.append(
            "  golden      {same} of {total} answers are the golden model's, {different} not, {unknown} unknown".format(
                total=report["samples"], **agreement
            )
        )
    return lines


def body(wanted: argparse.Namespace, device: Device, output: Output) -> None:
    """The command."""
    bundle = session.find_bundle(wanted.bundle)
    golden = load_golden(bundle) if wanted.compare == "golden" else None
    with session.find_dataset(wanted.dataset or bundle.manifest.dataset, wanted.data) as dataset:
        with session.held_board(), Accelerator(bundle, device, wanted.batchsize) as accelerator:
            report = validate(accelerator, dataset, wanted.limit, golden, output.line)
    for line in summary(report):
        output.line(line)
    output.result(report)
    agreement = report["agreement"]
    if agreement is not None and agreement["different"]:
        raise GoldenMismatch(
            "{} of {} answers differ from the golden model's, first at image {}".format(
                agreement["different"], report["samples"], agreement["first_different"][0]
            ),
            fix="run the golden samples: python3 -m labd_board.selftest",
        )
    if wanted.min_accuracy is not None and report["accuracy_percent"] < wanted.min_accuracy:
        raise AccuracyTooLow(
            "the accuracy is {:.2f} %, at least {:.2f} % was demanded".format(
                report["accuracy_percent"], wanted.min_accuracy
            ),
            fix="hardware or network? python3 -m labd_board.validate --compare golden tells",
        )


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
    return run(parser, body, argv, device)


if __name__ == "__main__":
    sys.exit(main())
