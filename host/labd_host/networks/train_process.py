"""The process that trains: ``python -m labd_host.networks.train_process``. Train environment only.

Started by `networks.launch`, which draws what this one tells: a JSON object a line on standard
output (`progress`, `note`, at the end `trained` or `stopped` or `labd_error`). SIGINT, SIGTERM and
a reader that is gone end it after the step in work, with a checkpoint to resume from.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from labd_host import datasets
from labd_host.networks import network as find_network
from labd_host.networks.checkpoint import Folder
from labd_host.networks.export import export
from labd_host.networks.exported import Exported
from labd_host.networks.progress import Progress
from labd_host.networks.table import Network, recipe_of
from labd_host.networks.trained import INPUT_CONTRACT, TrainedRecord
from labd_host.networks.training import Training, logits_of
from labd_shared.digest import file_sha256
from labd_shared.errors import INTERRUPTED, LabdError, StageMismatch
from labd_shared.wire import dump_error, dump_line

TELL_EVERY_S = 0.2
COMPARED_IMAGES = 1000  # of the validation part: torch's logits against the export's
LOGIT_TOLERANCE = 1e-3  # float32 sums in another order; a wrong weight moves a logit by more than 0.01

Images = npt.NDArray[np.uint8]


class Teller:
    """Writes lines for the launcher, and notices when nobody reads them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._told_at_s = -TELL_EVERY_S
        self.stop = False

    def line(self, message: str) -> None:
        """One line; a reader that is gone means stop."""
        try:
            os.write(self._descriptor, message.encode("ascii") + b"\n")
        except BrokenPipeError:
            self.stop = True

    def progress(self, progress: Progress) -> None:
        """Progress, not more often than anybody can read."""
        now_s = time.monotonic()
        if progress.step == progress.steps or now_s - self._told_at_s >= TELL_EVERY_S:
            self._told_at_s = now_s
            self.line(dump_line({"progress": asdict(progress)}))

    def note(self, text: str) -> None:
        """A sentence for the user."""
        self.line(dump_line({"note": text}))


def train(
    network: Network,
    train_set: tuple[Images, Images],
    test_set: Callable[[], tuple[Images, Images]],
    out: Path,
    *,
    seed: int,
    tell: Callable[[Progress], None],
    note: Callable[[str], None],
    stopping: Callable[[], bool],
) -> TrainedRecord | None:
    """Train, export and measure *network*; leaves NAME.onnx and NAME.json beside the checkpoints.

    Args:
        network: With its recipe.
        train_set: Images uint8 (n, height, width, channels) and labels (n,).
        test_set: The test split likewise; called once training has ended, for the final figure.
        out: The folder; a checkpoint in it is resumed.
        seed: Decides weights, split and order.
        tell, note: Told every step, and what happens next.
        stopping: Asked after every step.

    Returns:
        The record, or None when training was stopped.

    Raises:
        UsageError: the folder is in use, or its checkpoint has other settings.
        StageMismatch: the export does not compute what the trained model computes.
    """
    folder = Folder(out)
    try:
        training = Training(network, *train_set, folder, seed=seed)
        if 0 < training.done_steps < training.all_steps:
            note(f"resuming at epoch {training.state.epoch + 1}, step {training.state.step}")
        if not training.run(tell, stopping):
            return None
        path = out / f"{network.name}.onnx"
        note(f"exporting epoch {training.state.best_epoch} to {path}")
        export(training.best(), network, path)
        exported = Exported(path)
        _compare(training, exported)
        images, labels = test_set()
        note(f"measuring the export on {len(images)} test images")
        correct = int((exported.run(images).argmax(axis=1) == labels).sum())
        record = _record(training, path, len(images), correct)
        record.write(path.with_suffix(".json"))
        return record
    finally:
        folder.close()


def _compare(training: Training, exported: Exported) -> None:
    planes = training.validation_images[:COMPARED_IMAGES]
    wanted = logits_of(training.best(), planes).numpy()
    found = exported.run(np.ascontiguousarray(planes.numpy().transpose(0, 2, 3, 1)))
    furthest = float(np.abs(wanted - found).max())
    if furthest > LOGIT_TOLERANCE:
        raise StageMismatch(
            f"the export differs from the trained model by up to {furthest:.4f} in a logit on {len(planes)} images",
            fix="make the train environment anew (make train-env), its versions are what was tested",
            stage="export",
        )


def _record(training: Training, path: Path, samples: int, correct: int) -> TrainedRecord:
    tools = {
        name: importlib.metadata.version(name)
        for name in ("brevitas", "numpy", "onnx", "onnxruntime", "torch")
    }
    name, seed, threads = training.network.name, training.seed, torch.get_num_threads()
    typed = name if training.network.file is None else training.network.file.name
    command = f"labd train {typed} --epochs {training.recipe.epochs} --seed {seed} --threads {threads}"
    if training.recipe.precision != "float32":
        command += f" --precision {training.recipe.precision}"
    return TrainedRecord(
        network=name,
        dataset=training.network.dataset,
        onnx_sha256=file_sha256(path),
        input=INPUT_CONTRACT,
        split="test",
        samples=samples,
        correct=correct,
        validation_samples=training.validation_samples,
        validation_correct=training.state.best_correct,
        best_epoch=training.state.best_epoch,
        seed=seed,
        threads=threads,
        recipe=training.recipe,
        tools={**tools, "python": platform.python_version()},
        command=command,
    )


def main(arguments: list[str] | None = None) -> int:
    """Do what the launcher asked for; the exit code of the error tree."""
    parser = argparse.ArgumentParser(prog="python -m labd_host.networks.train_process")
    parser.add_argument("network")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--threads", type=int, required=True)
    wanted = parser.parse_args(arguments)
    # What libraries print goes to standard error; standard output is the launcher's alone.
    teller = Teller(os.dup(1))
    os.dup2(2, 1)

    def stop(number: int, frame: object) -> None:
        teller.stop = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    torch.set_num_threads(wanted.threads)
    torch.use_deterministic_algorithms(True)
    try:
        network = find_network(wanted.network)
        network = network.with_recipe(
            replace(recipe_of(network), epochs=wanted.epochs, precision=wanted.precision)
        )
        record = train(
            network,
            datasets.load(network.dataset, "train"),
            lambda: datasets.load(network.dataset, "test"),
            wanted.out,
            seed=wanted.seed,
            tell=teller.progress,
            note=teller.note,
            stopping=lambda: teller.stop,
        )
    except LabdError as error:
        teller.line(dump_error(error))
        return error.exit_code
    if record is None:
        teller.line(dump_line({"stopped": True}))
        return INTERRUPTED
    teller.line(dump_line({"trained": True}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
