"""``python3 -m labd_board.validate``: the accuracy of the deployed accelerator on a data set."""

import argparse
import sys
import time
from typing import Callable, List, Optional

from labd_board import session
from labd_board.accelerator import Accelerator
from labd_board.command import Arguments, Output, positive, run
from labd_board.device import Device
from labd_board.session import Dataset
from labd_board.tally import Keeper, Tally, new_tally, run_key
from labd_board.verdict import (
    changed_answers,
    compare,
    image_digests,
    judge,
    predictions_of,
    report_of,
    summary,
    write_csv,
)
from labd_shared.answers import check_judged_by_classes
from labd_shared.bundle import load_golden
from labd_shared.dataset_table import UNKNOWN_LABEL
from labd_shared.errors import ArtifactError, DmaTimeout, UsageError
from labd_shared.files import check_writable
from labd_shared.predictions import save_predictions
from labd_shared.tensors import count

Say = Callable[[str], None]

TELL_EVERY_S = 2.0  # how much time is left


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
    labelled = int((labels[:first] != UNKNOWN_LABEL).sum())
    right = int((tally.passes[number, :first] == labels[:first]).sum())
    for start, answers, times in accelerator.stream(dataset, tally.frames, first):
        tally.add(number, start, answers, times)
        seen = start + len(answers)
        right += int((tally.passes[number, start:seen] == labels[start:seen]).sum())
        labelled += int((labels[start:seen] != UNKNOWN_LABEL).sum())
        batch = -(-seen // accelerator.batch_size)
        say("batch {} / {} : total OK {} NOK {}".format(batch, batches, right, labelled - right))
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
    if wanted != dataset.frame_values:
        raise UsageError(
            "{} has images of {} ({} values), {} takes {}".format(
                dataset.name,
                " x ".join(map(str, dataset.spec.image_shape)),
                dataset.frame_values,
                manifest.network,
                " x ".join(map(str, manifest.inputs[0].normal[1:])),
            ),
            fix="use the data set it was trained for: --dataset {}".format(manifest.dataset),
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
        wanted.dataset or bundle.manifest.dataset, wanted.data, bundle.manifest, output.progress
    ) as dataset:
        manifest = bundle.manifest
        check_judged_by_classes(
            manifest.network,
            manifest.output_contract.kind,
            count(manifest.outputs[0].normal),
            len(dataset.spec.class_names),
        )
        frames = min(dataset.count, wanted.limit or dataset.count)
        if wanted.min_accuracy is not None and (dataset.labels[:frames] == UNKNOWN_LABEL).all():
            raise UsageError(
                "{} has no labels, so that no accuracy can be demanded".format(dataset.name),
                fix="leave --min-accuracy out, or name a data set with labels: --dataset npz:FILE",
            )
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
            if report["accuracy_percent"] is not None:
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
