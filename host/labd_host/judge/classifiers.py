"""What a user names on the command line, as something that classifies images on this machine.

Two arithmetics: the golden model computes what the accelerator does, bit by bit; onnxruntime computes
what was exported from training, in floating point. `labd validate` takes the one, `labd evaluate` the other.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labd_host.datasets import PIXELS, Entering
from labd_host.machine.listener import Listener
from labd_host.networks import TrainedExport
from labd_shared.answers import check_judged_by_classes
from labd_shared.errors import ShapeError, UsageError
from labd_shared.frame_form import FrameForm, frame_form, tensor_form
from labd_shared.manifest import MANIFEST_NAME, NETWORK_NAME
from labd_shared.tensors import count

if TYPE_CHECKING:
    from labd_host.golden.golden_model import GoldenModel

Images = npt.NDArray[Any]  # integers: of pixels uint8
Integers = npt.NDArray[np.integer[Any]]

BEST = 5


@dataclass(frozen=True, eq=False)
class Said:
    """What a network says of n images.

    Attributes:
        best: Classes (n, k), best first; at least one, `BEST` where the network tells.
        scores: int64 (n, classes) where they are integers.
    """

    best: Integers
    scores: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network that can be run.

    Attributes:
        name: The network's.
        dataset: What it is for; None where nobody knows.
        source: Who computes: "golden model" or "onnxruntime".
        run: Of frames (n, ...), the number of classes, and how the frames enter an export.
        model: The golden model, where it is one.
        form: What it takes as a frame; None where nobody knows.
    """

    name: str
    dataset: str | None
    source: str
    run: Callable[[Images, int, Entering], Said]
    model: GoldenModel | None = None
    form: FrameForm | None = None


def exported(export: TrainedExport, listener: Listener) -> Classifier:
    """A trained export, with its own arithmetic.

    Args:
        export: Its file and name.
        listener: Called with a line for each thing that was read otherwise than it is written.

    Raises:
        ArtifactError: the file cannot be run.
    """
    from labd_host.networks.exported import ExportedModel
    from labd_host.networks.input_form import input_form

    model = ExportedModel(export.file)
    for note in model.notes:
        listener.say(f"read: {note}")

    def run(images: Images, classes: int, entering: Entering = PIXELS) -> Said:
        best = best_of_scores(model.run(images, entering), classes, export.name)
        model.tell_zeros(listener)
        return Said(best)

    return Classifier(export.name, export.dataset or None, "onnxruntime", run, form=input_form(export))


def best_of_scores(scores: npt.NDArray[np.float32], classes: int, name: str) -> Integers:
    """The classes of *scores* (n, ...), best first; of one value an image, above 0 is class 1 of two.

    Raises:
        ShapeError: the scores are not one for each of the *classes*.
    """
    values = scores.reshape(len(scores), -1)
    if values.shape[1] == 1 and classes == 2:  # noqa: PLR2004  yes or no
        return np.where(values > 0, np.array([[1, 0]]), np.array([[0, 1]]))
    if values.shape[1] != classes or scores.shape[1:].count(classes) != 1:
        each = "one value" if values.shape[1] == 1 else f"{' x '.join(map(str, scores.shape[1:]))} values"
        raise ShapeError(
            f"{name} gives {each} an image, the data set has {classes} classes: they are not scores of classes",
            fix="choose the data set the network was trained on: --dataset NAME; a network that gives no scores of "
            "classes has no accuracy",
        )
    return np.argsort(-values, axis=1, kind="stable")[:, :BEST]


def golden(text: str, listener: Listener, dataset: str | None = None) -> Classifier:
    """A golden model: of a bundle, a folder of `labd compile`, a network.npz, or a trained network's.

    Args:
        text: Which; an export (MODEL.onnx) is compiled first, as a network of the table is.
        listener: Told what happens.
        dataset: What it is for, where *text* does not say.

    Raises:
        UsageError: there is no such file.
        UnknownName: no such network.
        ArtifactError: a file is damaged, or the bundle has no network.
        BuildError, DataMissing: as `labd_host.judge.golden_cache.golden_file` raises them.
    """
    from labd_host import networks
    from labd_host.flow.compiled_folder import check_proven, read_purpose
    from labd_host.golden.golden_model import GoldenModel
    from labd_shared.answers import best_classes

    path, form = Path(text), None
    frame: tuple[int, ...] = ()
    if path.suffix in (".npz", ".zip") and not path.exists():
        raise UsageError(
            f"there is no {text}", fix="name a network, a bundle, or the network.npz of labd compile"
        )
    if path.suffix == ".npz":
        model = GoldenModel.load(path)
    elif path.is_dir() and (path / NETWORK_NAME).is_file() and not (path / MANIFEST_NAME).is_file():
        check_proven(path)
        model = GoldenModel.load(path / NETWORK_NAME)
        purpose = read_purpose(path)
        dataset, frame = dataset or purpose.dataset or None, purpose.frame
    elif path.is_dir() or path.suffix == ".zip":
        from labd_host.bundles.bundle_writer import golden_model
        from labd_shared.bundle import open_bundle

        bundle = open_bundle(path)
        model = golden_model(bundle.folder, bundle.manifest.files)
        dataset, form = dataset or bundle.manifest.dataset, frame_form(bundle.manifest)
    else:
        from labd_host.judge.golden_cache import golden_file
        from labd_host.networks.input_form import input_form

        export = networks.resolve(text, dataset or "")
        model, dataset = GoldenModel.load(golden_file(export, listener)), export.dataset or None
        form = input_form(export)
    name = model.network.name
    if dataset is None and name in networks.NETWORKS:
        dataset = networks.NETWORKS[name].dataset

    def run(images: Images, classes: int, entering: Entering = PIXELS) -> Said:  # noqa: ARG001 - integers as they are
        check_judged_by_classes(name, model.network.answer, count(model.outputs[0].normal), classes)
        result = model.run(images)
        answers = result.outputs[0] if result.logits is None else result.logits
        scores = None if result.logits is None else np.asarray(result.logits, np.int64)
        return Said(best_classes(answers, classes, BEST), scores)

    form = form or tensor_form(name, model.inputs[0], model.scores() or 0, frame)
    return Classifier(name, dataset, "golden model", run, model, form)


def is_predictions(text: str) -> bool:
    """Whether *text* names a file of predictions (`labd_shared.predictions`), not a network."""
    path = Path(text)
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "about.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False  # whoever reads it says what is wrong with it
