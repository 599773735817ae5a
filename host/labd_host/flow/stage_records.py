"""What a finished stage leaves beside its file, and whether the stage may be used again.

A stage's record is the last thing written of it, in one step: a stage without a record is not finished,
whatever a kill or a full disk left of its files. The record holds the digests of all that the stage came
from and of all that it made. A stage is used again when both are the same; what it computed stands in a
``.npz`` beside it, so that the stage behind it can be proven anew without running this one.
"""

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import labd_host
import labd_shared
from labd_host.explore.calibration import SHIPPED
from labd_host.flow.stages import STAGES
from labd_host.machine.typed_records import from_record
from labd_host.proof.observe import Observation, ObservedPoint
from labd_host.proof.proof import ANSWERS, Proof, proof_of
from labd_shared.arrays import load_npz, save_npz
from labd_shared.digest import bytes_sha256, file_sha256, json_sha256
from labd_shared.errors import ArtifactError, SetupError, UsageError
from labd_shared.files import write_text
from labd_shared.records import Value, read_json

GOLDEN = "golden"
# Packages whose code decides what a stage is: the flow, what it imports, and the model that proves it.
DECIDING = ("flow", "proof", "dataflow", "golden", "explore", "simulate", "machine", "exports", "rewrites")
STAGE_NAMES = (*(stage.name for stage in STAGES), GOLDEN, ANSWERS)
NOT_BEFORE = "not made before"
MAX_RECORD_BYTES = 4 << 20
MAX_VALUES_BYTES = 1 << 30
_INTEGERS = tuple(np.dtype(name) for name in ("u1", "<i2", "<i4", "<i8"))
# An input's name in a record -> how its change is called.
_CHANGED = {
    "source": "what it is made from changed",
    "before": "what it is compared with changed",
    "steps": "other steps",
    "settings": "other settings",
    "images": "other images",
    "labd": "another labd",
    "tools": "other versions of FINN's packages",
}


@dataclass(frozen=True)
class Inputs:
    """Digests of all that decides on a stage.

    Attributes:
        source: Of the file it is made from.
        before: Of the values of the stage before, which it is compared with; "" for the first.
        steps: Of its transformations and their arguments.
        settings: Of what else it was told: the folding, the network's name.
        images: Of the images it ran on.
        labd: Of labd's own code, see `code_sha256`.
        tools: Of the versions of FINN and what it stands on.
    """

    source: str
    before: str
    steps: str
    settings: str
    images: str
    labd: str
    tools: str


@dataclass(frozen=True)
class Record:
    """A finished stage.

    Attributes:
        stage, title: As in `labd_host.flow.stages`.
        file: Name of its file.
        files: Digest of *file* and of what was made beside it, by name.
        nodes: Operations in its graph.
        inputs: What it came from.
        steps: Its transformations, for people.
        observed: Kind and layer of the points in its ``.npz``, in order; none where it has no such file.
        proof: Against the stage before.
        tools: Distribution -> version.
    """

    stage: str
    title: str
    file: str
    files: Mapping[str, str]
    nodes: int
    inputs: Inputs
    steps: Sequence[Mapping[str, Any]]
    observed: tuple[tuple[str, str], ...]
    proof: Proof
    tools: Mapping[str, str]

    def text(self) -> str:
        """The record as JSON; the same stage gives the same text."""
        data = {
            "stage": self.stage,
            "title": self.title,
            "file": self.file,
            "sha256": self.files[self.file],
            "files": dict(self.files),
            "nodes": self.nodes,
            "inputs": vars(self.inputs),
            "steps": list(self.steps),
            "observed": [list(point) for point in self.observed],
            "proof": self.proof.record(),
            "tools": dict(self.tools),
        }
        return json.dumps(data, indent=2, sort_keys=True) + "\n"


def stage_path(folder: Path, name: str, suffix: str) -> Path:
    """The file of stage *name*: "5-hardware.onnx"."""
    return folder / f"{STAGE_NAMES.index(name) + 1}-{name}{suffix}"


class Ledger:
    """The records of one output folder.

    Args:
        folder: Where they lie.
        start: The first stage to be made anew, whatever is there; None for none. The stages before it
            must be finished.
    """

    def __init__(self, folder: Path, start: str | None = None) -> None:
        self._folder = folder
        self._start = None if start is None else STAGE_NAMES.index(start)
        self._earlier = {name: read_record(stage_path(folder, name, ".json"), name) for name in STAGE_NAMES}

    def finished(self, name: str, inputs: Inputs, files: Sequence[str]) -> Record | None:
        """The record of stage *name* where it can be used again.

        Args:
            name: Of the stage.
            inputs: What it would be made from now.
            files: Names of the files it would make.

        Raises:
            UsageError: it cannot, and the stages to be made anew come only later.
        """
        place = STAGE_NAMES.index(name)
        why = self.why_anew(name, inputs, files)
        if self._start is not None and place < self._start and why:
            raise UsageError(
                f"stage {STAGE_NAMES[self._start]} cannot be the first one made: {self._folder} has no finished "
                f"stage {name} of this network ({why})",
                fix="leave --from out: what is finished is used again, the rest is made",
                stage=name,
            )
        return None if why else self._earlier[name]

    def why_anew(self, name: str, inputs: Inputs, files: Sequence[str]) -> str:
        """Why stage *name* has to be made, "" where it has not."""
        record = self._earlier[name]
        if self._start is not None and STAGE_NAMES.index(name) >= self._start:
            return "asked for with --from"
        if record is None:
            return NOT_BEFORE
        for key, said in _CHANGED.items():
            if getattr(record.inputs, key) != getattr(inputs, key):
                return said
        for file in files:
            if not (self._folder / file).is_file():
                return f"{file} is gone"
            if file_sha256(self._folder / file) != record.files.get(file):
                return f"{file} is damaged"
        return ""

    def asked_for(self, name: str) -> bool:
        """Whether stage *name* is to be made again whatever there is (``--from``)."""
        return self._start is not None and STAGE_NAMES.index(name) >= self._start

    def begin(self, name: str) -> None:
        """Stage *name* is about to be made: it and what follows are not finished until they are kept."""
        for later in STAGE_NAMES[STAGE_NAMES.index(name) :]:
            stage_path(self._folder, later, ".json").unlink(missing_ok=True)

    def keep(self, record: Record) -> None:
        """*record*'s stage is finished."""
        path, text = stage_path(self._folder, record.stage, ".json"), record.text()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        with written(path):
            write_text(path, text)


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """While *path* is written: a full disk and its like become one sentence.

    Raises:
        SetupError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror or error}",
            fix="make room there and type the same command again: finished stages are kept",
        ) from error


def save_observation(path: Path, observed: Observation) -> None:
    """The values of *observed*, each point in the smallest integers that hold it; same values, same bytes."""
    with written(path):
        arrays = {f"{index:03}": _narrow(point.values) for index, point in enumerate(observed.points)}
        save_npz(path, arrays, compressed=False)  # half as large compressed, for a second of a compile of CNV


def load_observation(folder: Path, record: Record) -> Observation:
    """What the stage of *record* computed.

    Raises:
        ArtifactError: its ``.npz`` cannot be read.
    """
    path = stage_path(folder, record.stage, ".npz")
    arrays = load_npz(path, MAX_VALUES_BYTES)
    if len(arrays) != len(record.observed):
        raise ArtifactError(
            f"{path} holds {len(arrays)} arrays, its record says {len(record.observed)}",
            fix=f"rm {path}, and type the same command again",
        )
    points = tuple(
        ObservedPoint(kind, layer, arrays[f"{index:03}"].astype(np.int64))
        for index, (kind, layer) in enumerate(record.observed)
    )
    undecided = () if record.proof.against else record.proof.undecided
    return Observation(points, record.proof.scores, undecided)


def finished_stages(folder: Path) -> dict[str, Record]:
    """The stages that are finished in *folder*, in order: name -> record; every file as its record says."""
    found = {name: read_record(stage_path(folder, name, ".json"), name) for name in STAGE_NAMES}
    return {name: record for name, record in found.items() if record is not None and _whole(folder, record)}


def _whole(folder: Path, record: Record) -> bool:
    paths = {folder / file: sha256 for file, sha256 in record.files.items()}
    return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in paths.items())


def images_sha256(images: npt.NDArray[np.uint8]) -> str:
    """Digest of *images*, their shape and type included."""
    digests = [images.dtype.str, list(images.shape), bytes_sha256(np.ascontiguousarray(images).tobytes())]
    return json_sha256(digests)


@functools.cache
def code_sha256() -> str:
    """Digest of labd's code that makes and proves stages."""
    host, shared = Path(labd_host.__file__).parent, Path(labd_shared.__file__).parent
    files = [
        *(path for package in DECIDING for path in sorted((host / package).rglob("*.py"))),
        SHIPPED,
        *(host / "networks" / name for name in ("exported.py", "runnable.py")),
        *shared.glob("*.py"),
    ]
    return json_sha256(sorted((path.parent.name, path.name, file_sha256(path)) for path in files))


def _narrow(values: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    kind = next(each for each in _INTEGERS if np.iinfo(each).min <= low and high <= np.iinfo(each).max)
    return values.astype(kind)


def read_record(path: Path, name: str) -> Record | None:
    """The record in *path*; None where there is none of this form: then its stage is not finished."""
    try:
        data = read_json(path, MAX_RECORD_BYTES).fields(_FIELDS)
        record = Record(
            stage=data["stage"].choice((name,)),
            title=data["title"].text(),
            file=data["file"].text(),
            files=_texts(data["files"]),
            nodes=data["nodes"].integer(0),
            inputs=from_record(Inputs, data["inputs"]),
            steps=[
                {key: entry.raw for key, entry in step.entries().items()} for step in data["steps"].list()
            ],
            observed=tuple(_point(each) for each in data["observed"].list()),
            proof=proof_of(data["proof"]),
            tools=_texts(data["tools"]),
        )
    except ArtifactError:
        return None
    return record if record.file in record.files else None


_FIELDS = (
    "stage", "title", "file", "sha256", "files", "nodes", "inputs", "steps", "observed", "proof", "tools",
)  # fmt: skip


def _texts(value: Value) -> dict[str, str]:
    return {key: entry.text() for key, entry in value.entries().items()}


def _point(value: Value) -> tuple[str, str]:
    kind, layer = value.list(2, 2)
    return kind.text(), layer.text()
