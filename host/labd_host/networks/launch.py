"""Start a training in the train environment, follow it, and end it with us.

The host environment has no torch (DESIGN.md, Environments), so training is a process of its own:
`networks.train_process`, in the train environment's Python, telling JSON lines.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import labd_host
import labd_shared
from labd_host import datasets, environments
from labd_host.machine.child import (
    Child,
    ChildDeadlines,
    ChildEnd,
    ChildLineTooLong,
    ChildLingers,
    ChildSilent,
)
from labd_host.machine.listener import SILENT, Listener
from labd_host.machine.typed_records import from_record
from labd_host.networks.pretrained import fetch
from labd_host.networks.table import (
    DEFINITION,
    NAME,
    NAME_WANTED,
    PRECISIONS,
    NetworkSpec,
    read_network,
    recipe_of,
    recipe_with,
)
from labd_host.networks.trained import TrainedRecord, read_record
from labd_host.networks.training_progress import Progress
from labd_shared.dataset_table import SPLITS
from labd_shared.digest import file_sha256
from labd_shared.errors import BuildError, SetupError, UsageError
from labd_shared.files import replacing, write_text
from labd_shared.frame_form import PIXEL, FrameForm
from labd_shared.records import MAX_NAME, Origin, Value, read_json

PROCESS = "labd_host.networks.train_process"
SILENCE_TIMEOUT_S = 900.0  # longer than importing torch, a step or an evaluation takes on a slow machine
STOP_TIMEOUT_S = 60.0  # to finish the step in work and write a checkpoint
CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})  # of a processor that computes with bfloat16
RUN_FILE = "run.json"
CHECKPOINT_FILE = "last.pt"
BEST_FILE = "best.pt"
START = "start-"  # before the name of the file that was given
TEACHER_FILE = "teacher.pt"
MAX_RUN_BYTES = 1 << 20
START_KNOWN_BY = re.compile(r"([0-9a-f]{64})?")
TEACHER_KNOWN_BY = re.compile(rf"({NAME.pattern} [0-9a-f]{{64}})?")
PROGRESS = Origin("the progress of the training process", "go on with --resume", BuildError)


@dataclass(frozen=True)
class Run:
    """What decides one training besides its network: read again when it is resumed.

    Attributes:
        network: Its name.
        epochs: 0: published weights are taken as they are.
        seed, precision: Of the training.
        pretrained: Whether it begins with published weights.
        start: The digest of other weights that it begins with, "" where there are none.
        teacher: The network it learns from and the digest of its weights, "" where there is none.
        recipe: Settings of the recipe that were given: KEY=VALUE.
        dataset: The data set, where it is not the network's own.
    """

    network: str
    epochs: int
    seed: int
    precision: str
    pretrained: bool = False
    start: str = ""
    teacher: str = ""
    recipe: list[str] = field(default_factory=list)
    dataset: str = ""


# A parameter an option of labd train, which is its only caller.
def train(
    network: NetworkSpec,
    out: Path,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    threads: int = 1,
    resume: bool = False,
    pretrained: bool = False,
    start: Path | None = None,
    teacher: Path | None = None,
    recipe: Sequence[str] = (),
    device: str = "auto",
    finish: bool = False,
    dataset: str = "",
    listener: Listener = SILENT,
    python: Path | None = None,
) -> TrainedRecord:
    """Train, export and measure *network* in a process of the train environment.

    Leaves NAME.onnx, NAME.json, log.json and the checkpoints in *out*, and a copy of the file (NAME.toml)
    that defines a user's own network, so that its export is known wherever it is used. Ctrl-C ends the process
    after a checkpoint; it can be resumed from there.

    Args:
        network: From the table, or a user's own.
        out: Folder of this training.
        epochs, seed, precision: The recipe's, and seed 0, when None; on resuming, what it was started with.
        threads: Of torch.
        resume: Take up the training in *out*.
        pretrained: Begin with the weights that were published; without *epochs* they are only exported and measured.
        start: Begin with the weights in this file, as Brevitas or `labd train` saved them, or of an export (.onnx).
        teacher: The folder of a training whose network this one learns from (needs distillation in the recipe).
        recipe: Settings of the recipe that differ: KEY=VALUE.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        finish: With *resume*: train no further, export and measure the best epoch so far.
        dataset: Another data set than the network's own, as of `labd_host.datasets.read`; it needs a training split.
        listener: Told what happens, and a few times a second how far the training is.
        python: The Python to train with; found when None.

    Returns:
        The record in *out*.

    Raises:
        UsageError: nothing to resume, or something to resume was not asked for; or no weights were published.
        SetupError: no Python with torch and Brevitas.
        DataMissing: the data set, or the published weights, are not to be had.
        BuildError: the process died.
    """
    if finish and not resume:
        raise UsageError(
            "there is nothing to finish", fix=f"labd train {network.typed} --resume --finish -o {out}"
        )
    if pretrained and start is not None:
        raise UsageError("two kinds of weights to begin with", fix="leave out --pretrained or --start")
    usual = recipe_with(recipe_of(network), recipe)  # the settings are checked here, before anything is made
    asked = {
        "epochs": epochs,
        "seed": seed,
        "precision": None if precision is None else _precision(precision),
        "pretrained": pretrained or None,
        "start": None if start is None else file_sha256(start),
        "teacher": None if teacher is None else _teacher_known_by(teacher),
        "recipe": list(recipe) or None,
        "dataset": datasets.located(dataset, Path()) or None,
    }
    default = Run(network.name, 0 if pretrained else usual.epochs, 0, _precision(usual.precision))
    run = _settle(out, default, asked, resume=resume, typed=network.typed)
    python = python or find_python()
    dataset = _ready(network, run.dataset or network.dataset, listener)
    weights = fetch(network) if run.pretrained else None
    out.mkdir(parents=True, exist_ok=True)
    what = network.name if network.file is None else str(_keep_definition(network, network.file, out))
    if start is not None:
        for left in out.glob(f"{START}*"):  # a kill cut its copy short
            if not left.samefile(start):
                left.unlink()
        _keep(start, out / f"{START}{start.name}")
    if teacher is not None:
        _keep_teacher(teacher, out)
    write_text(out / RUN_FILE, json.dumps(asdict(run), sort_keys=True) + "\n")
    arguments = [what, "--out", str(out), "--epochs", str(run.epochs), "--seed", str(run.seed)]
    arguments += ["--precision", run.precision, "--threads", str(threads)]
    arguments += [each for setting in run.recipe for each in ("--recipe", setting)]
    arguments += ["--dataset", dataset] if dataset != network.dataset else []
    arguments += ["--device", device] if device != "auto" else []
    arguments += ["--pretrained", str(weights)] if weights else []
    arguments += ["--start", str(next(out.glob(f"{START}*")))] if run.start else []
    arguments += ["--teacher", _teacher(run, out), str(out / TEACHER_FILE)] if run.teacher else []
    arguments += ["--finish"] if finish else []
    _follow([str(python), "-m", PROCESS, *arguments], threads, listener)
    return read_record(out / f"{network.name}.json")


def _ready(network: NetworkSpec, dataset: str, listener: Listener) -> str:
    """See to it that both splits of *dataset* are on this machine, and fit; its name for the training process.

    Here is where a download's bar can be drawn, and where a user's own pictures can be read.

    Raises:
        DataMissing: a split is not available.
        UsageError, ArtifactError: it does not fit the network.
    """
    form = FrameForm(network.name, network.input_shape, PIXEL)
    if not datasets.is_named_here(dataset):
        datasets.find(dataset)
        spec = datasets.describe(dataset)
    else:
        splits = {split: datasets.read(dataset, split, form) for split in SPLITS}
        for split, found in splits.items():
            for note in found.notes:
                listener.say(f"{split}: {note}")
            datasets.keep(found, split)
        spec = splits["train"].spec
    if spec.image_shape != network.input_shape or len(spec.class_names) > network.classes:
        raise UsageError(
            f"{network.name} takes {network.input_shape} for {network.classes} classes, {dataset} has "
            f"{spec.image_shape} for {len(spec.class_names)}",
            fix="train a network of your own for it: docs/own-network.md",
        )
    return spec.name


def _precision(wanted: str) -> str:
    """What "auto" stands for on this machine."""
    if wanted != "auto":
        return wanted
    try:
        words = CPU_INFO.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        words = []
    return "bfloat16" if BFLOAT16_FLAGS.intersection(words) else "float32"


def read_run(out: Path) -> Run:
    """What the training in *out* was started with.

    Raises:
        UsageError: there is none, or its file is damaged.
    """
    origin = Origin(str(out / RUN_FILE), f"start again: remove {out}", UsageError)
    known = read_json(out / RUN_FILE, MAX_RUN_BYTES, origin).fields(
        ("network", "epochs", "seed", "precision"), ("pretrained", "start", "teacher", "recipe", "dataset")
    )
    return Run(
        network=known["network"].text(MAX_NAME, NAME, NAME_WANTED),
        epochs=known["epochs"].integer(0),
        seed=known["seed"].integer(),
        precision=known["precision"].choice(PRECISIONS),
        pretrained=known["pretrained"].truth() if "pretrained" in known else False,
        start=known["start"].text(MAX_NAME, START_KNOWN_BY, "a sha256") if "start" in known else "",
        teacher=known["teacher"].text(MAX_NAME, TEACHER_KNOWN_BY, "a name and a sha256")
        if "teacher" in known
        else "",
        recipe=[setting.text() for setting in known["recipe"].list()] if "recipe" in known else [],
        dataset=known["dataset"].text(MAX_NAME) if "dataset" in known else "",
    )


def find_python() -> Path:
    """A Python with torch and Brevitas: this one, or the train environment's.

    Raises:
        SetupError: the train environment is not made.
    """
    if importlib.util.find_spec("torch") and importlib.util.find_spec("brevitas"):
        return Path(sys.executable)
    wanted = environments.environment("train")
    folder = environments.folder(wanted)
    if not environments.is_ready(wanted, folder):
        raise SetupError(
            f"training needs torch and Brevitas: they are neither in {sys.executable} nor is the train "
            f"environment made ({folder})",
            fix="make train-env (outside a checkout: python3 -m labd_host.environments ensure train)",
        )
    return folder / "bin" / "python"


def _keep(file: Path, kept: Path) -> None:
    """Copy *file*, so that resuming needs nothing from elsewhere."""
    with replacing(kept) as making:
        shutil.copyfile(file, making)


def _teacher_known_by(teacher: Path) -> str:
    """The name of the network trained in *teacher* and the digest of its weights.

    Raises:
        UsageError: there is none.
    """
    name = read_run(teacher).network
    if not (teacher / BEST_FILE).is_file():
        raise UsageError(
            f"there is no trained network in {teacher}: {BEST_FILE} is missing",
            fix=f"labd train {name} -o {teacher}",
        )
    return f"{name} {file_sha256(teacher / BEST_FILE)}"


def _keep_teacher(teacher: Path, out: Path) -> None:
    """Copy the weights of the training in *teacher*, and its network's definition, into *out*."""
    _keep(teacher / BEST_FILE, out / TEACHER_FILE)
    definition = teacher / f"{read_run(teacher).network}{DEFINITION}"
    if definition.is_file():
        _keep(definition, out / f"teacher-{definition.name}")


def _teacher(run: Run, out: Path) -> str:
    """What names the teacher's network: a name of the table, or the definition kept in *out*."""
    name = run.teacher.split()[0]
    definition = out / f"teacher-{name}{DEFINITION}"
    return str(definition) if definition.is_file() else name


def _keep_definition(network: NetworkSpec, file: Path, out: Path) -> Path:
    """Copy *file*, which defines *network*, into *out*; the copy.

    Raises:
        UsageError: the training in *out* began with another network of that name.
    """
    kept = out / f"{network.name}{DEFINITION}"
    if kept.is_file():
        if read_network(kept) != network:
            raise UsageError(
                f"{file} is not as it was when the training in {out} began",
                fix=f"labd train {kept} --resume -o {out}, or another folder after -o",
            )
        return kept
    _keep(file, kept)
    if datasets.is_named_here(network.dataset):  # its path may be from the folder of *file*
        line = "dataset = " + json.dumps(network.dataset, ensure_ascii=False)
        text = kept.read_text(encoding="utf-8")
        write_text(kept, re.sub(r"^dataset\s*=.*$", lambda _: line, text, count=1, flags=re.MULTILINE))
    return kept


def _settle(out: Path, default: Run, asked: dict[str, Any], *, resume: bool, typed: str) -> Run:
    """What this run is, from what was asked for and what lies in *out*."""
    begun = (out / CHECKPOINT_FILE).is_file()
    given = {name: value for name, value in asked.items() if value is not None}
    if not resume:
        if begun:
            raise UsageError(
                f"{out} holds a training already",
                fix=f"labd train {typed} --resume -o {out}, or another folder after -o",
            )
        return replace(default, **given)
    if not begun:
        raise UsageError(f"there is no training to resume in {out}", fix="leave out --resume to begin one")
    saved = read_run(out)
    wanted = {"network": default.network, **given}
    for name, was in asdict(saved).items():
        if wanted.get(name, was) != was:
            raise UsageError(
                f"the training in {out} has {name} {was}, asked for is {wanted[name]}",
                fix="resume it as it was started, or start another one: -o DIR",
            )
    return saved


def _follow(command: list[str], threads: int, listener: Listener) -> None:
    """Run the process to its end; raises what it raised."""
    with tempfile.TemporaryDirectory(prefix="labd-train-") as packages:
        # The two packages and nothing beside them: an installed labd lies among the host's numpy and onnx.
        for package in (labd_host, labd_shared):
            location = Path(str(package.__file__)).parent
            (Path(packages) / location.name).symlink_to(location)
        environment = {
            **os.environ,
            "PYTHONPATH": packages,
            "PYTHONNOUSERSITE": "1",
            "PYTHONWARNINGS": "ignore:fast_hadamard_transform",
            "OMP_NUM_THREADS": str(threads),
            "BREVITAS_JIT": "0",  # the export cannot read compiled layers
        }
        # Asked to end before its handler is set it simply ends: nothing to save yet.
        with Child(
            command,
            environment=environment,
            messages=True,
            show_errors=True,
            end=ChildEnd(grace_s=STOP_TIMEOUT_S),
        ) as child:
            try:
                for message in child.messages(ChildDeadlines(silence_s=SILENCE_TIMEOUT_S)):
                    if "progress" in message:
                        now = from_record(Progress, Value(message["progress"], PROGRESS))
                        listener.progress("training", now.done_steps, now.all_steps, str(now))
                    elif "note" in message:
                        listener.say(str(message["note"]))
                code = child.finish(STOP_TIMEOUT_S)
            except ChildSilent as fault:
                raise BuildError(
                    f"the training process sent nothing for {SILENCE_TIMEOUT_S:.0f} s and was ended",
                    fix="go on with --resume; if it happens again, look for a full memory",
                ) from fault
            except ChildLineTooLong as fault:
                raise BuildError(
                    "the training process sent a line without an end and was ended", fix="go on with --resume"
                ) from fault
            except ChildLingers as fault:
                raise BuildError("the training process did not end", fix="go on with --resume") from fault
    if child.error:
        raise child.error
    if code:
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise BuildError(
            f"the training process {ended}",
            fix="read its messages above; a killed one goes on with --resume",
            exit_code=code,
        )
