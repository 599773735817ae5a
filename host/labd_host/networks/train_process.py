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
from labd_host.machine.parent import MessageWriter, take_stdout
from labd_host.networks import brevitas_model as models
from labd_host.networks import network as find_network
from labd_host.networks.checkpoint import CheckpointFolder, load_published
from labd_host.networks.export import export
from labd_host.networks.exported import ExportedModel
from labd_host.networks.from_export import state_of
from labd_host.networks.fused import can_compile, prepare_compiler
from labd_host.networks.launch import START
from labd_host.networks.table import DEVICES, NetworkSpec, Recipe, recipe_of, recipe_with
from labd_host.networks.trained import INPUT_CONTRACT, TrainedRecord
from labd_host.networks.training import Start, Teacher, Training, logits_of
from labd_host.networks.training_progress import Progress
from labd_shared.digest import file_sha256
from labd_shared.errors import INTERRUPTED, LabdError, StageMismatch, UsageError

TELL_EVERY_S = 0.2
EXPORT = ".onnx"
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


# What the arguments of this process say, and what the tests replace.
def train(
    network: NetworkSpec,
    train_set: tuple[Images, Images],
    test_set: Callable[[], tuple[Images, Images]],
    out: Path,
    *,
    seed: int,
    tell: Callable[[Progress], None],
    note: Callable[[str], None],
    stopping: Callable[[], bool],
    start: Start | None = None,
    teacher: Teacher | None = None,
    finish: bool = False,
    device: str = "cpu",
    compiled: bool = False,
    command: str = "",
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
        start: Weights to go on from.
        teacher: A network to learn from.
        finish: Train no further: the best epoch that the checkpoints in *out* hold is exported and measured.
        device, compiled: As for `Training`.
        command: What makes it again, for the record.

    Returns:
        The record, or None when training was stopped.

    Raises:
        UsageError: the folder is in use, its checkpoint has other settings, or no epoch of it has ended.
        StageMismatch: the export does not compute what the trained model computes.
    """
    folder = CheckpointFolder(out)
    try:
        training = Training(
            network,
            *train_set,
            folder,
            seed=seed,
            start=start,
            teacher=teacher,
            device=device,
            compiled=compiled,
        )
        if not finish and 0 < training.done_steps < training.all_steps:
            note(f"resuming at epoch {training.state.epoch + 1}, step {training.state.step}")
        if finish:
            training.check_best()
        elif not training.run(tell, stopping):
            return None
        note(f"exporting epoch {training.state.best_epoch}")
        measured = _leave(training.best().cpu(), network, training.validation_images, test_set, out, note)
        return _write_record(
            measured,
            network,
            training.recipe,
            out,
            validation=(training.validation_samples, training.state.best_correct),
            best_epoch=training.state.best_epoch,
            seed=seed,
            start=start,
            teacher=teacher,
            device=device,
            epochs_done=training.state.epoch,
            command=command,
        )
    finally:
        folder.close()


def take(
    network: NetworkSpec,
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
    folder = CheckpointFolder(out)
    try:
        model = models.build(network)
        models.load_weights(model, network, start.state)
        note(f"exporting {start.source}")
        compared = torch.from_numpy(test_set()[0][:COMPARED_IMAGES].transpose(0, 3, 1, 2).copy())
        measured = _leave(model, network, compared, test_set, out, note)
        recipe = replace(recipe_of(network), epochs=0, validation=0)
        return _write_record(
            measured,
            network,
            recipe,
            out,
            validation=(0, 0),
            best_epoch=0,
            seed=0,
            start=start,
            command=f"labd train {_typed(network)} --pretrained",
        )
    finally:
        folder.close()


def _leave(
    model: torch.nn.Module,
    network: NetworkSpec,
    planes: torch.Tensor,
    test_set: Callable[[], tuple[Images, Images]],
    out: Path,
    note: Callable[[str], None],
) -> tuple[int, int]:
    """Export *model* into *out*, compare the export with it on *planes*; samples and correct ones of the test split."""
    path = out / f"{network.name}.onnx"
    export(model, network, path)
    exported = ExportedModel(path)
    _compare(model, exported, planes[:COMPARED_IMAGES])
    images, labels = test_set()
    note(f"measuring {path} on {len(images)} test images")
    return len(images), int((exported.run(images).argmax(axis=1) == labels).sum())


def _compare(model: torch.nn.Module, exported: ExportedModel, planes: torch.Tensor) -> None:
    wanted = logits_of(model, planes).numpy()
    found = exported.run(np.ascontiguousarray(planes.numpy().transpose(0, 2, 3, 1)))
    furthest = float(np.abs(wanted - found).max())
    if furthest > LOGIT_TOLERANCE:
        raise StageMismatch(
            f"the export differs from the trained model by up to {furthest:.4f} in a logit on {len(planes)} images",
            fix="rebuild the train environment, whose versions are the tested ones: make train-env",
            stage="export",
        )


# A parameter an attribute of the record that only its caller knows.
def _write_record(
    measured: tuple[int, int],
    network: NetworkSpec,
    recipe: Recipe,
    out: Path,
    *,
    validation: tuple[int, int],
    best_epoch: int,
    seed: int,
    start: Start | None,
    command: str,
    teacher: Teacher | None = None,
    device: str = "cpu",
    epochs_done: int = 0,
) -> TrainedRecord:
    """Write NAME.json beside the export in *out*; *measured* and *validation* are samples and correct ones."""
    tools = {
        name: importlib.metadata.version(name)
        for name in ("brevitas", "numpy", "onnx", "onnxruntime", "torch")
    }
    path = out / f"{network.name}.onnx"
    how = [] if start is None else [f"{'from' if recipe.epochs else 'as published:'} {start.source}"]
    how += [f"with the teacher {teacher.source}"] if teacher else []
    how += ["on a GPU"] if device == "cuda" else []
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
        command=command,
        how="; ".join(how),
    )
    record.write(path.with_suffix(".json"))
    return record


def _typed(network: NetworkSpec) -> str:
    return network.name if network.file is None else network.file.name


def _command(wanted: argparse.Namespace, network: NetworkSpec) -> str:
    """What makes the training again that *wanted* asks for."""
    command = f"labd train {_typed(network)}"
    command += " --pretrained" if wanted.pretrained is not None else ""
    command += f" --start {wanted.start.name.removeprefix(START)}" if wanted.start is not None else ""
    command += f" --teacher {wanted.teacher[0]}" if wanted.teacher is not None else ""
    command += f" --epochs {wanted.epochs} --seed {wanted.seed} --threads {torch.get_num_threads()}"
    command += f" --precision {wanted.precision}" if wanted.precision != "float32" else ""
    return command + "".join(f" --recipe {setting}" for setting in wanted.recipe)


def _start(wanted: argparse.Namespace, network: NetworkSpec) -> Start | None:
    """The weights to begin with."""
    if wanted.pretrained is not None:
        return Start(load_published(wanted.pretrained), network.pretrained)
    if wanted.start is not None:
        export = wanted.start.suffix == EXPORT
        state = state_of(wanted.start, network) if export else load_published(wanted.start)
        return Start(state, f"weights of sha256 {file_sha256(wanted.start)[:12]}...")
    return None


def _teacher(wanted: argparse.Namespace, network: NetworkSpec, device: str) -> Teacher | None:
    """The network to learn from.

    Raises:
        UsageError: it takes other images or has other classes.
        ArtifactError: its weights are damaged.
    """
    if wanted.teacher is None:
        return None
    name, file = wanted.teacher
    taught_by = find_network(name)
    if (taught_by.input_shape, taught_by.classes) != (network.input_shape, network.classes):
        raise UsageError(
            f"the teacher {name} takes {taught_by.input_shape} and has {taught_by.classes} classes, {network.name} "
            f"takes {network.input_shape} and has {network.classes}",
            fix="choose a teacher that was trained on the same data set",
        )
    model = models.build(taught_by)
    models.load_weights(model, taught_by, load_published(Path(file)))
    model.to(device, memory_format=torch.channels_last).eval()
    return Teacher(model, f"{taught_by.name}, sha256 {file_sha256(Path(file))[:12]}...")


def _device(asked: str) -> str:
    """The device to train on.

    Raises:
        UsageError: a GPU was asked for and torch finds none.
    """
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise UsageError(
            "torch finds no GPU: this machine has none, or torch is its CPU build",
            fix="train on the CPU: --device cpu",
        )
    return "cuda" if asked == "cuda" or (asked == "auto" and found) else "cpu"


def _do(wanted: argparse.Namespace, teller: Teller) -> TrainedRecord | None:
    network = find_network(wanted.network)
    if wanted.dataset:
        network = replace(network, dataset=wanted.dataset)

    def test_set() -> tuple[Images, Images]:
        return datasets.load(network.dataset, "test")

    start = _start(wanted, network)
    if start is not None and not wanted.epochs:
        return take(network, start, test_set, wanted.out, note=teller.note)
    recipe = recipe_with(recipe_of(network), wanted.recipe)
    recipe = replace(recipe, epochs=wanted.epochs, precision=wanted.precision)
    device = _device(wanted.device)
    prepare_compiler(wanted.threads)
    compiled = not wanted.finish and can_compile(device)
    if not compiled and not wanted.finish:
        teller.note(
            "torch.compile found no working compiler (install g++); training runs without, more slowly"
        )
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
        teacher=_teacher(wanted, network, device),
        finish=wanted.finish,
        device=device,
        compiled=compiled,
        command=_command(wanted, network),
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
    parser.add_argument(
        "--recipe", action="append", default=[], help="another value of the recipe: KEY=VALUE"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--dataset", help="another one than the network's own")
    parser.add_argument("--pretrained", type=Path, help="published weights; with 0 epochs taken as they are")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--teacher", nargs=2, help="a network to learn from, and its weights")
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
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or products on a GPU are not deterministic
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = (
        False  # it is written before it is read, and costs time
    )
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
