"""The manifest: what a bundle says of itself, checked once at the edge.

`parse_manifest` is the only way in. It checks everything, recomputes what can be computed (packed
shapes), and returns tuples that the rest of the code may trust.
"""

import json
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union, get_type_hints

from labd_shared.errors import LabdError, ManifestInvalid
from labd_shared.tensors import Tensor, make_tensor

FORMAT = "labd-bundle"
VERSION = 1
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
TARGETS = ("hw", "emu")
UNKNOWN = "unknown"
REQUIRED_FILES = ("accel.bit", "accel.hwh", "golden.npz")

T = TypeVar("T")


class InputContract(NamedTuple):
    """What the accelerator expects of an image.

    ``kind`` is "raw-uint8" (pixels as they are, 0 to 255) or "scaled": the network sees
    ``pixel * scale + offset``.
    """

    kind: str
    scale: float = 1.0
    offset: float = 0.0


class Expected(NamedTuple):
    """What the cycle model promises at the built clock."""

    cycles_per_frame: int  # initiation interval of the whole accelerator, DMA counted
    latency_cycles: int  # first frame, upper estimate (sum of the layers)
    frames_per_s: float
    bottleneck: str  # node or DMA that sets cycles_per_frame; begins with UNKNOWN where it is a lower bound

    @property
    def known(self) -> bool:
        """Whether these are promises; of an imported design whose network is unknown they are bounds."""
        return not self.bottleneck.startswith(UNKNOWN)


class Accuracy(NamedTuple):
    """A measured top-1 accuracy and how it was measured."""

    top1_percent: float
    samples: int
    split: str
    measured_by: str


class FileEntry(NamedTuple):
    """One file of the bundle."""

    sha256: str
    size_bytes: int


class Manifest(NamedTuple):
    """A bundle's manifest; see DESIGN.md, The bundle."""

    network: str
    dataset: str
    class_names: Tuple[str, ...]
    target: str
    part: str
    board: str
    clock_mhz: float
    slack_ns: Optional[float]
    input_contract: InputContract
    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]
    folding: Dict[str, Dict[str, Any]]
    expected: Expected
    accuracy: Optional[Accuracy]
    tools: Dict[str, str]
    files: Dict[str, FileEntry]
    external_weights: Dict[str, int] = {}  # DMA -> how often a frame it reads runtime_weights/DMA.npy

    def to_json(self) -> str:
        """The manifest as canonical, readable JSON: the same manifest gives the same bytes."""
        record = {
            "format": FORMAT,
            "version": VERSION,
            "network": self.network,
            "dataset": self.dataset,
            "class_names": list(self.class_names),
            "target": self.target,
            "part": self.part,
            "board": self.board,
            "clock_mhz": self.clock_mhz,
            "slack_ns": self.slack_ns,
            "input_contract": self.input_contract._asdict(),
            "inputs": [_tensor_record(tensor) for tensor in self.inputs],
            "outputs": [_tensor_record(tensor) for tensor in self.outputs],
            "folding": self.folding,
            "expected": self.expected._asdict(),
            "accuracy": None if self.accuracy is None else self.accuracy._asdict(),
            "tools": self.tools,
            "files": {name: entry._asdict() for name, entry in self.files.items()},
        }
        if self.external_weights:  # few designs have them: the others keep their bytes
            record["external_weights"] = self.external_weights
        return json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _tensor_record(tensor: Tensor) -> Dict[str, Any]:
    record: Dict[str, Any] = tensor._asdict()
    record["datatype"] = tensor.datatype.name
    for shape in ("normal", "folded", "packed"):
        record[shape] = list(record[shape])
    return record


def parse_manifest(text: Union[str, bytes]) -> Manifest:
    """Read and check a manifest.

    Raises:
        ManifestInvalid: not JSON, another format or version, a key missing or of the wrong type,
            or shapes that contradict each other.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(
            "the manifest is {} bytes, more than {}".format(len(text), MAX_MANIFEST_BYTES), fix=_REBUILD
        )
    try:
        record = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except ValueError as error:
        raise ManifestInvalid("the manifest is not JSON: {}".format(error), fix=_REBUILD) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise ManifestInvalid("the manifest's format is {!r}, not {!r}".format(found, FORMAT), fix=_REBUILD)
    if record.get("version") != VERSION:
        raise ManifestInvalid(
            "the manifest is of version {!r}, this labd reads version {}".format(
                record.get("version"), VERSION
            ),
            fix="build the bundle again with this version, or install the version that made it",
        )
    return _checked(record)


_REBUILD = "build the bundle again: labd build NETWORK --target TARGET -o DIR"


def _checked(record: Dict[str, Any]) -> Manifest:
    target = _get(record, "target", str)
    if target not in TARGETS:
        raise ManifestInvalid(
            "target is {!r}, not one of {}".format(target, ", ".join(TARGETS)), fix=_REBUILD
        )
    contract = _tuple_of(InputContract, _get(record, "input_contract", dict), "input_contract")
    if contract.kind not in ("raw-uint8", "scaled"):
        raise ManifestInvalid(
            "input_contract is {!r}, not raw-uint8 or scaled".format(contract.kind), fix=_REBUILD
        )
    accuracy = record.get("accuracy")
    slack_ns = record.get("slack_ns")
    files = {}
    for name, entry in _get(record, "files", dict).items():
        _check_name(name)
        files[name] = _tuple_of(FileEntry, entry, "files." + name)
        if not re.match(r"^[0-9a-f]{64}$", files[name].sha256) or files[name].size_bytes < 0:
            raise ManifestInvalid("files.{} has no sha256 or a negative size".format(name), fix=_REBUILD)
    missing = [name for name in REQUIRED_FILES if name not in files]
    if missing:
        raise ManifestInvalid("the manifest lists no {}".format(", ".join(missing)), fix=_REBUILD)
    clock_mhz = float(_get(record, "clock_mhz", (int, float)))
    if not 1.0 <= clock_mhz <= 1000.0:
        raise ManifestInvalid("clock_mhz is {}, not 1 to 1000".format(clock_mhz), fix=_REBUILD)
    expected = _tuple_of(Expected, _get(record, "expected", dict), "expected")
    if expected.cycles_per_frame < 1 or expected.latency_cycles < 1:
        raise ManifestInvalid(
            "expected cycles are {} a frame and {} for the first, both must be positive".format(
                expected.cycles_per_frame, expected.latency_cycles
            ),
            fix=_REBUILD,
        )
    manifest = Manifest(
        network=_get(record, "network", str),
        dataset=_get(record, "dataset", str),
        class_names=tuple(_strings(_get(record, "class_names", list), "class_names")),
        target=target,
        part=_get(record, "part", str),
        board=_get(record, "board", str),
        clock_mhz=clock_mhz,
        slack_ns=None if slack_ns is None else float(_get(record, "slack_ns", (int, float))),
        input_contract=contract,
        inputs=_tensors(record, "inputs"),
        outputs=_tensors(record, "outputs"),
        folding=_get(record, "folding", dict),
        expected=expected,
        accuracy=None if accuracy is None else _tuple_of(Accuracy, accuracy, "accuracy"),
        tools={str(key): str(value) for key, value in _get(record, "tools", dict).items()},
        files=files,
        external_weights=_external_weights(record.get("external_weights", {})),
    )
    _check_name(manifest.network)
    _check_name(manifest.dataset)
    return manifest


def _get(record: Dict[str, Any], key: str, kind: Union[type, Tuple[type, ...]]) -> Any:
    value = record.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ManifestInvalid(
            "{} is {!r} in the manifest, a {} is wanted".format(
                key, value, "number" if isinstance(kind, tuple) else kind.__name__
            ),
            fix=_REBUILD,
        )
    return value


def _external_weights(record: Any) -> Dict[str, int]:
    if not isinstance(record, dict):
        raise ManifestInvalid("external_weights is {!r}, not an object".format(record), fix=_REBUILD)
    for dma in record:
        _check_dma(dma, "external_weights")
        if _get(record, dma, int) < 1:
            raise ManifestInvalid(
                "external_weights: {} reads {} times a frame, not once or more".format(dma, record[dma]),
                fix=_REBUILD,
            )
    return record


def _check_dma(dma: str, where: str) -> None:
    if not re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", dma):
        raise ManifestInvalid("{} is {!r}, no name of a block".format(where, dma), fix=_REBUILD)


def _strings(values: List[Any], key: str) -> List[str]:
    if not all(isinstance(value, str) for value in values):
        raise ManifestInvalid("{} holds something else than text".format(key), fix=_REBUILD)
    return values


def _check_name(name: str) -> None:
    """Names become paths and command arguments on the board, so they are of one plain form."""
    if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", name):
        raise ManifestInvalid("{!r} is no name for a file, network or data set".format(name), fix=_REBUILD)


def _tuple_of(kind: Type[T], record: Any, where: str) -> T:
    """The NamedTuple *kind* from a dictionary that has exactly its fields, of its fields' types."""
    fields = get_type_hints(kind)
    if not isinstance(record, dict) or set(record) != set(fields):
        have = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
        raise ManifestInvalid(
            "{} has {}; wanted: {}".format(where, have, ", ".join(sorted(fields))), fix=_REBUILD
        )
    values = {}
    for key, wanted in fields.items():
        values[key] = float(_get(record, key, (int, float))) if wanted is float else _get(record, key, wanted)
    return kind(**values)


def _tensors(record: Dict[str, Any], key: str) -> Tuple[Tensor, ...]:
    entries = _get(record, key, list)
    if not entries:
        raise ManifestInvalid("{} is empty".format(key), fix=_REBUILD)
    return tuple(_tensor(entry, "{}[{}]".format(key, index)) for index, entry in enumerate(entries))


def _tensor(entry: Any, where: str) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != set(Tensor._fields):
        raise ManifestInvalid("{} must have {}".format(where, ", ".join(Tensor._fields)), fix=_REBUILD)
    shapes = {}
    for label in ("normal", "folded", "packed"):
        shape = _get(entry, label, list)
        if not all(isinstance(axis, int) and not isinstance(axis, bool) for axis in shape):
            raise ManifestInvalid("{}.{} is {}, not integers".format(where, label, shape), fix=_REBUILD)
        shapes[label] = tuple(shape)
    dma = _get(entry, "dma", str)
    _check_dma(dma, where + ".dma")
    try:
        tensor = make_tensor(
            _get(entry, "name", str),
            _get(entry, "datatype", str),
            shapes["normal"],
            shapes["folded"],
            _get(entry, "layout", str),
            dma,
        )
    except ManifestInvalid:
        raise
    except LabdError as error:
        raise ManifestInvalid("{}: {}".format(where, error.what), fix=_REBUILD) from error
    if tensor.packed != shapes["packed"]:
        raise ManifestInvalid(
            "{}: packed shape is {}, {} of datatype {} packs to {}".format(
                where, shapes["packed"], tensor.folded, tensor.datatype.name, tensor.packed
            ),
            fix=_REBUILD,
        )
    return tensor
