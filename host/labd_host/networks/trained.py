"""Trained networks that come with labd, and the record that lies beside each.

``trained/NAME.onnx`` is the QONNX export, ``trained/NAME.json`` says how good it is and how it was
made. `labd train` writes the same pair into its own folder. Large ones are stored compressed, as
``NAME.onnx.xz`` (`networks.compact`), and unpacked into the user's cache.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from labd_host.machine import places
from labd_host.networks.compact import AGAIN, SUFFIX, unpacked
from labd_host.networks.table import NAME, NAME_WANTED, NetworkSpec, Recipe, parse_recipe
from labd_shared.digest import file_sha256
from labd_shared.errors import DataMissing, DigestMismatch, LabdError
from labd_shared.files import write_text
from labd_shared.records import MAX_NAME, Origin, read_json

TRAINED = Path(__file__).with_name("trained")
RECORD_FORMAT = "labd-trained-network"
RECORD_VERSION = 1
MAX_RECORD_BYTES = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
INPUT_CONTRACT = "float32 (1, channels, height, width), uint8 pixel / 255"


@dataclass(frozen=True)
class TrainedRecord:
    """How good an exported network is, and how it was made.

    Attributes:
        network, dataset: Names.
        onnx_sha256: Of the export this record belongs to.
        input: What the export takes.
        split, samples, correct: Measured with the export's own arithmetic (`networks.exported`).
        validation_samples, validation_correct: Of the part split off the training set, at the best epoch.
        best_epoch: The epoch it was taken from, counted from 1.
        seed, threads: Of the training.
        recipe: How it was trained.
        tools: Versions.
        command: What makes it again.
        how: What the recipe does not say, where it was not `labd train` that made it.
    """

    network: str
    dataset: str
    onnx_sha256: str
    input: str
    split: str
    samples: int
    correct: int
    validation_samples: int
    validation_correct: int
    best_epoch: int
    seed: int
    threads: int
    recipe: Recipe
    tools: dict[str, str]
    command: str
    how: str = ""

    @property
    def accuracy_percent(self) -> float:
        """Images classified correctly, of a hundred."""
        return 100.0 * self.correct / self.samples

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all; the same record gives the same bytes.

        A setting of the recipe that may be left out, and has its usual value, is.
        """
        content = {
            "format": RECORD_FORMAT,
            "version": RECORD_VERSION,
            "accuracy_percent": self.accuracy_percent,
            **asdict(self),
        }
        for each in fields(Recipe):
            if content["recipe"][each.name] == each.default:
                del content["recipe"][each.name]
        if not self.how:
            del content["how"]
        write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


_NEEDED = tuple(each.name for each in fields(TrainedRecord) if each.name != "how")


def training_folder(name: str) -> Path:
    """Where a training lies unless the user names another place."""
    return places.home() / "training" / name


def find_trained(network: NetworkSpec) -> Path:
    """The folder with the export of *network*: labd's own, or else where `labd train` leaves it.

    Raises:
        DataMissing: it is in neither.
    """
    folders = [TRAINED] if network.file is None else []
    for folder in (*folders, training_folder(network.name)):
        if (folder / f"{network.name}.json").is_file():
            return folder
    raise _none_trained(network.name, network.typed)


def trained_onnx(name: str, folder: Path = TRAINED) -> Path:
    """The export of *name* that comes with labd (or lies in *folder*), its digest checked.

    Raises:
        DataMissing: there is none.
        DigestMismatch: the file is not the one its record names.
        ArtifactError: a compressed one is damaged.
    """
    record = trained_record(name, folder)
    path = folder / f"{name}.onnx"
    packed = folder / (path.name + SUFFIX)
    if packed.is_file():
        return unpacked(packed, record.onnx_sha256)
    if not path.is_file():
        raise _none_trained(name, name)
    if (found := file_sha256(path)) != record.onnx_sha256:
        raise DigestMismatch(
            f"{path} has sha256 {found[:12]}..., its record says {record.onnx_sha256[:12]}...",
            fix=AGAIN if folder == TRAINED else f"labd train {name} --resume -o {folder}",
        )
    return path


def trained_record(name: str, folder: Path = TRAINED) -> TrainedRecord:
    """How good the export of *name* that comes with labd (or lies in *folder*) is.

    Raises:
        DataMissing: there is none.
        ArtifactError: its record does not say what a record must.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise _none_trained(name, name)
    return read_record(path)


def read_record(path: Path) -> TrainedRecord:
    """The record in *path*.

    Raises:
        ArtifactError: it cannot be read, or a field of it is missing or wrong.
    """
    origin = Origin(str(path), "labd train again")
    content = read_json(path, MAX_RECORD_BYTES, origin).of_format(RECORD_FORMAT, RECORD_VERSION)
    known = content.fields(_NEEDED, None)
    samples = known["samples"].integer(1)
    validation_samples = known["validation_samples"].integer(0)
    return TrainedRecord(
        network=known["network"].text(MAX_NAME, NAME, NAME_WANTED),
        dataset=known["dataset"].text(MAX_NAME),
        onnx_sha256=known["onnx_sha256"].text(64, SHA256, "a sha256"),
        input=known["input"].text(),
        split=known["split"].text(MAX_NAME),
        samples=samples,
        correct=known["correct"].integer(0, samples),
        validation_samples=validation_samples,
        validation_correct=known["validation_correct"].integer(0, validation_samples),
        best_epoch=known["best_epoch"].integer(0),
        seed=known["seed"].integer(),
        threads=known["threads"].integer(0),
        recipe=parse_recipe(known["recipe"], least=0),
        tools={name: version.text(MAX_NAME) for name, version in known["tools"].entries().items()},
        command=known["command"].text(),
        how=known["how"].text() if "how" in known else "",
    )


def _none_trained(name: str, typed: str) -> LabdError:
    return DataMissing(
        f"no trained {name!r} comes with labd, and none is in {training_folder(name)}",
        fix=f"train it: labd train {typed}",
        network=name,
    )
