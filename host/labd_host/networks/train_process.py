"""The process that trains: ``python -m labd_host.networks.train_process``. Train environment only.

Started by `networks.launch`, which draws what this one tells: a JSON object a line on standard
output (`progress`, `note`, at the end `trained` or `stopped` or `labd_error`). SIGINT, SIGTERM and
a reader that is gone end it after the step in work, with a checkpoint to resume from.
"""

from __future__ import annotations

import argparse
import importlib.metadata
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
from labd_host.machine.parent import MessageWriter, take_stdout
from labd_host.networks import model as models
from labd_host.networks import network as find_network
from labd_host.networks.checkpoint import Folder, load_published
from labd_host.networks.export import export
from labd_host.networks.exported import Exported
from labd_host.networks.progress import Progress
from labd_host.networks.table import Network, Recipe, recipe_of
from labd_host.networks.trained import INPUT_CONTRACT, TrainedRecord
from labd_host.networks.training import Start, Training, logits_of
from labd_shared.digest import file_sha256
from labd_shared.errors import INTERRUPTED, LabdError, StageMismatch

TELL_EVERY_S = 0.2
COMPARED_IMAGES = 1000  # of the validation part: torch's logits against the export's
LOGIT_TOLERANCE = 1e-3  # float32 sums in another order; a wrong weight moves a logit by more than 0.01

Images = npt.NDArray[np.uint8]


class Teller:
    """Sends the launcher how the training goes, and notices when it no longer reads."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer
        self._told_at_s = -TELL_EVERY_S
        self.stopped = False

    @property
    def stop(self) -> bool:
        """Whether the training is to end: after a signal, or when the launcher is gone."""
        return self.stopped or not self._writer.is_read

    def progress(self, progress: Progress) -> None:
        """Progress, not more often than anybody can read."""
        now_s = time.monotonic()
        if progress.step == progress.steps or now_s - self._told_at_s >= TELL_EVERY_S:
            self._told_at_s = now_s
            self._writer.send({"progress": asdict(progress)})

    def note(self, text: str) -> None:
        """A sentence for the user."""
        self._writer.send({"note": text})


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
    start: Start | None = None,
    finish: bool = False,
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
        start: Published weights to go on from.
        finish: Train no further: the best epoch that the checkpoints in *out* hold is exported and measured.

    Returns:
        The record, or None when training was stopped.

    Raises:
        UsageError: the folder is in use, its checkpoint has other settings, or no epoch of it has ended.
        StageMismatch: the export does not compute what the trained model computes.
    """
    folder = Folder(out)
    try:
        training = Training(network, *train_set, folder, seed=seed, start=start)
        if not finish and 0 < training.done_steps < training.all_steps:
            note(f"resuming at epoch {training.state.epoch + 1}, step {training.state.step}")
        if finish:
            training.check_best()
        elif not training.run(tell, stopping):
            return None
        note(f"exporting epoch {training.state.best_epoch}")
        measured = _leave(training.best(), network, training.validation_images, test_set, out, note)
        return _write_record(
            measured,
            network,
            training.recipe,
            out,
            validation=(training.validation_samples, training.state.best_correct),
            best_epoch=training.state.best_epoch,
            seed=seed,
            start=start,
            epochs_done=training.state.epoch,
        )
    finally:
        folder.close()


def take(
    network: Network,
    start: Start,
    test_set: Callable[[], tuple[Images, Images]],
    out: Path,
    *,
    note: Callable[[str], None],
) -> TrainedRecord:
    """Export and measure published weights as they are; leaves NAME.onnx and NAME.json in *out*.

    Args:
        network: With its recipe, of which no epoch is done.
        start: The weights.
        test_set: As for `train`.
        out: The folder.
        note: Told what happens next.

    Raises:
        UsageError: the folder is in use.
        ArtifactError: the weights are not those of *network*.
        StageMismatch: the export does not compute what the model computes.
    """
    folder = Folder(out)
    try:
        model = models.build(network)
        models.load_weights(model, network, start.state)
        note(f"exporting {start.source}")
        compared = torch.from_numpy(test_set()[0][:COMPARED_IMAGES].transpose(0, 3, 1, 2).copy())
        measured = _leave(model, network, compared, test_set, out, note)
        recipe = replace(recipe_of(network), epochs=0, validation=0)
        return _write_record(
            measured, network, recipe, out, validation=(0, 0), best_epoch=0, seed=0, start=start
        )
    finally:
        folder.close()


def _leave(
    model: torch.nn.Module,
    network: Network,
    planes: torch.Tensor,
    test_set: Callable[[], tuple[Images, Images]],
    out: Path,
    note: Callable[[str], None],
) -> tuple[int, int]:
    """Export *model* into *out*, compare the export with it on *planes*; samples and correct ones of the test split."""
    path = out / f"{network.name}.onnx"
    export(model, network, path)
    exported = Exported(path)
    _compare(model, exported, planes[:COMPARED_IMAGES])
    images, labels = test_set()
    note(f"measuring {path} on {len(images)} test images")
    return len(images), int((exported.run(images).argmax(axis=1) == labels).sum())


def _compare(model: torch.nn.Module, exported: Exported, planes: torch.Tensor) -> None:
    wanted = logits_of(model, planes).numpy()
    found = exported.run(np.ascontiguousarray(planes.numpy().transpose(0, 2, 3, 1)))
    furthest = float(np.abs(wanted - found).max())
    if furthest > LOGIT_TOLERANCE:
        raise StageMismatch(
            f"the export differs from the trained model by up to {furthest:.4f} in a logit on {len(planes)} images",
            fix="rebuild the train environment, whose versions are the tested ones: make train-env",
            stage="export",
        )


def _write_record(
    measured: tuple[int, int],
    network: Network,
    recipe: Recipe,
    out: Path,
    *,
    validation: tuple[int, int],
    best_epoch: int,
    seed: int,
    start: Start | None,
    epochs_done: int = 0,
) -> TrainedRecord:
    """Write NAME.json beside the export in *out*; *measured* and *validation* are samples and correct ones."""
    tools = {
        name: importlib.metadata.version(name)
        for name in ("brevitas", "numpy", "onnx", "onnxruntime", "torch")
    }
    path = out / f"{network.name}.onnx"
    how = [] if start is None else [f"{'from' if recipe.epochs else 'as published:'} {start.source}"]
    if epochs_done < recipe.epochs:
        how.append(f"ended early, by --finish, after {epochs_done} of {recipe.epochs} epochs")
    record = TrainedRecord(
        network=network.name,
        dataset=network.dataset,
        onnx_sha256=file_sha256(path),
        input=INPUT_CONTRACT,
        split="test",
        samples=measured[0],
        correct=measured[1],
        validation_samples=validation[0],
        validation_correct=validation[1],
        best_epoch=best_epoch,
        seed=seed,
        threads=torch.get_num_threads(),
        recipe=recipe,
        tools={**tools, "python": platform.python_version()},
        command=_command(network, recipe, seed, start),
        how="; ".join(how),
    )
    record.write(path.with_suffix(".json"))
    return record


def _command(network: Network, recipe: Recipe, seed: int, start: Start | None) -> str:
    """What makes it again."""
    command = f"labd train {network.name if network.file is None else network.file.name}"
    if start is not None:
        command += " --pretrained"
    if recipe.epochs:
        command += f" --epochs {recipe.epochs} --seed {seed} --threads {torch.get_num_threads()}"
        command += f" --precision {recipe.precision}" if recipe.precision != "float32" else ""
    return command


def _do(wanted: argparse.Namespace, teller: Teller) -> TrainedRecord | None:
    network = find_network(wanted.network)

    def test_set() -> tuple[Images, Images]:
        return datasets.load(network.dataset, "test")

    start = None
    if wanted.pretrained is not None:
        start = Start(load_published(wanted.pretrained), network.pretrained)
        if not wanted.epochs:
            return take(network, start, test_set, wanted.out, note=teller.note)
    recipe = replace(recipe_of(network), epochs=wanted.epochs, precision=wanted.precision)
    return train(
        network.with_recipe(recipe),
        datasets.load(network.dataset, "train"),
        test_set,
        wanted.out,
        seed=wanted.seed,
        tell=teller.progress,
        note=teller.note,
        stopping=lambda: teller.stop,
        start=start,
        finish=wanted.finish,
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
    parser.add_argument("--pretrained", type=Path, help="published weights; with 0 epochs taken as they are")
    parser.add_argument(
        "--finish", action="store_true", help="train no further: export the best epoch so far"
    )
    wanted = parser.parse_args(arguments)
    # What libraries print goes to standard error; standard output is the launcher's alone.
    writer = MessageWriter(take_stdout())
    teller = Teller(writer)

    def stop(number: int, frame: object) -> None:
        teller.stopped = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    torch.set_num_threads(wanted.threads)
    torch.use_deterministic_algorithms(True)
    try:
        record = _do(wanted, teller)
    except LabdError as error:
        writer.send_error(error)
        return error.exit_code
    if record is None:
        writer.send({"stopped": True})
        return INTERRUPTED
    writer.send({"trained": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())
