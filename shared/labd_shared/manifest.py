"""The manifest: what a bundle says of itself, checked once at the edge.

`parse_manifest` is the only way in. It checks everything, recomputes what can be computed (packed
shapes), and returns tuples that the rest of the code may trust.
"""

import json
import re
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple, TypeVar, Union

from labd_shared.answers import CLASS, SIGN, VALUES
from labd_shared.errors import LabdError, ManifestInvalid, UsageError
from labd_shared.records import MAX_NAME, Origin, Value, parse_json
from labd_shared.tensors import Tensor, count, make_tensor

FORMAT = "labd-bundle"
VERSION = 1
MANIFEST_NAME = "manifest.json"
BIT_NAME, HWH_NAME, GOLDEN_NAME = "accel.bit", "accel.hwh", "golden.npz"
NETWORK_NAME = "network.npz"  # also of the file that a compiled network leaves
MAX_MANIFEST_BYTES = 1 << 20
TARGETS = ("hw", "emu")
INPUT_KINDS = ("raw-uint8", "scaled", "integers")
OUTPUT_KINDS = (CLASS, SIGN, VALUES)
UNKNOWN = "unknown"
REQUIRED_FILES = (BIT_NAME, HWH_NAME, GOLDEN_NAME)

T = TypeVar("T")


class InputContract(NamedTuple):
    """What the accelerator expects of an image.

    ``kind`` is "raw-uint8" (pixels as they are, 0 to 255), "scaled" (the network sees
    ``pixel * scale + offset``) or "integers" (values of the input's own datatype, as they are).
    ``frame`` is the shape of one frame of the data set where a flat input does not say it: height, width,
    channels; () where the input's own shape is meant.
    """

    kind: str
    scale: float = 1.0
    offset: float = 0.0
    frame: Tuple[int, ...] = ()

    def record(self) -> Dict[str, Any]:
        """As the manifest has it; without a frame, the bytes of a manifest stay what they were."""
        fields = dict(self._asdict(), frame=list(self.frame))
        return fields if self.frame else {key: fields[key] for key in ("kind", "scale", "offset")}


class OutputContract(NamedTuple):
    """What the accelerator's output means.

    ``kind`` is "class" (the best class, or a score for each), "sign" (1 where the one score is above 0, else 0) or
    "values": each is ``output * scale + offset``, with one scale and offset, or one for each channel (the last axis).
    """

    kind: str
    scale: Tuple[float, ...] = ()
    offset: Tuple[float, ...] = ()


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
    output_contract: OutputContract = OutputContract(CLASS)
    accepted: Tuple[str, ...] = ()  # what failed and was accepted with --ignore-check, a sentence each

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
            "input_contract": self.input_contract.record(),
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
        if self.output_contract.kind != CLASS:
            record["output_contract"] = self.output_contract._asdict()
        if self.accepted:
            record["accepted"] = list(self.accepted)
        return json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"


def check_gives_classes(manifest: Manifest) -> None:
    """Check that the accelerator of *manifest* answers with classes.

    Raises:
        UsageError: it gives values.
    """
    if manifest.output_contract.kind == VALUES:
        raise UsageError(
            "{} gives {} values for an image, not a class".format(
                manifest.network, count(manifest.outputs[0].normal)
            ),
            fix="read the values: Accelerator.run, scaled as output_contract of the manifest says",
        )


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
    origin = Origin(MANIFEST_NAME, _REBUILD, ManifestInvalid)
    record = parse_json(text, MAX_MANIFEST_BYTES, origin).of_format(
        FORMAT, VERSION, "build the bundle again with this version, or install the version that made it"
    )
    return _checked(record.fields(_FIELDS, None))


_REBUILD = "build the bundle again: labd build NETWORK --target TARGET -o DIR"
_FIELDS = (
    "network", "dataset", "class_names", "target", "part", "board", "clock_mhz", "input_contract", "inputs", "outputs",
    "folding", "expected", "tools", "files",
)  # fmt: skip
_MAX_TENSORS, _MAX_CLASSES, _MAX_AXES = 64, 10000, 16
_MAX_SENTENCES, _MAX_SENTENCE = 64, 4000
_MAX_CHANNELS = 65536
# Names become paths and command arguments on the board, so they are of one plain form.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_BLOCK = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _checked(record: Dict[str, Value]) -> Manifest:
    files = {}
    for name, value in record["files"].entries().items():
        _check_name(Value(name, value.origin, "files"))
        entry = value.fields(FileEntry._fields)
        files[name] = FileEntry(
            entry["sha256"].text(64, _SHA256, "a sha256 digest"), entry["size_bytes"].integer(0)
        )
    missing = [name for name in REQUIRED_FILES if name not in files]
    if missing:
        raise record["files"].origin.fault("files lacks {}".format(", ".join(missing)))
    inputs, contract = _tensors(record["inputs"]), _input_contract(record["input_contract"])
    if contract.frame and count(contract.frame) != count(inputs[0].normal):
        raise record["input_contract"].origin.fault(
            "input_contract.frame is {}, the input is {}".format(contract.frame, inputs[0].normal)
        )
    return Manifest(
        network=_check_name(record["network"]),
        dataset=_check_name(record["dataset"]),
        class_names=tuple(name.text(MAX_NAME) for name in record["class_names"].list(0, _MAX_CLASSES)),
        target=record["target"].choice(TARGETS),
        part=record["part"].text(MAX_NAME),
        board=record["board"].text(MAX_NAME),
        clock_mhz=record["clock_mhz"].number(1.0, 1000.0),
        slack_ns=_optional(record, "slack_ns", Value.number),
        input_contract=contract,
        inputs=inputs,
        outputs=_tensors(record["outputs"]),
        folding={name: _raw_entries(entry) for name, entry in record["folding"].entries().items()},
        expected=_expected(record["expected"]),
        accuracy=_optional(record, "accuracy", _accuracy),
        tools={name: value.text(MAX_NAME) for name, value in record["tools"].entries().items()},
        files=files,
        external_weights=_optional(record, "external_weights", _external_weights) or {},
        output_contract=_optional(record, "output_contract", _output_contract) or OutputContract(CLASS),
        accepted=_optional(record, "accepted", _sentences) or (),
    )


def _optional(record: Dict[str, Value], key: str, read: Callable[[Value], T]) -> Optional[T]:
    """What *read* makes of a field; None where it is absent or null."""
    value = record.get(key)
    return None if value is None or value.raw is None else read(value)


def _check_name(value: Value) -> str:
    return value.text(MAX_NAME, _NAME, "a name of A-Z, a-z, 0-9 and . _ -, at most one / in it,")


def _raw_entries(value: Value) -> Dict[str, Any]:
    """The settings of a layer; what they may be is decided where a folding is read."""
    value.entries()
    return dict(value.raw)


def _input_contract(value: Value) -> InputContract:
    record = value.fields(("kind", "scale", "offset"), ("frame",))
    frame = record["frame"].list(1, _MAX_AXES) if "frame" in record else []
    return InputContract(
        record["kind"].choice(INPUT_KINDS),
        record["scale"].number(),
        record["offset"].number(),
        tuple(axis.integer(1) for axis in frame),
    )


def _output_contract(value: Value) -> OutputContract:
    record = value.fields(OutputContract._fields)
    scale, offset = (
        tuple(each.number() for each in record[key].list(0, _MAX_CHANNELS)) for key in ("scale", "offset")
    )
    if len(scale) != len(offset):
        raise value.origin.fault(
            "output_contract has {} scales and {} offsets".format(len(scale), len(offset))
        )
    return OutputContract(record["kind"].choice(OUTPUT_KINDS), scale, offset)


def _expected(value: Value) -> Expected:
    record = value.fields(Expected._fields)
    return Expected(
        record["cycles_per_frame"].integer(1),
        record["latency_cycles"].integer(1),
        record["frames_per_s"].number(),
        record["bottleneck"].text(MAX_NAME),
    )


def _accuracy(value: Value) -> Accuracy:
    record = value.fields(Accuracy._fields)
    return Accuracy(
        record["top1_percent"].number(),
        record["samples"].integer(),
        record["split"].text(MAX_NAME),
        record["measured_by"].text(MAX_NAME),
    )


def _sentences(value: Value) -> Tuple[str, ...]:
    return tuple(sentence.text(_MAX_SENTENCE) for sentence in value.list(0, _MAX_SENTENCES))


def _external_weights(value: Value) -> Dict[str, int]:
    found = value.entries()
    for dma in found:
        Value(dma, value.origin, value.path).text(MAX_NAME, _BLOCK, "the name of a block")
    return {dma: times.integer(1) for dma, times in found.items()}


def _tensors(value: Value) -> Tuple[Tensor, ...]:
    return tuple(_tensor(entry) for entry in value.list(1, _MAX_TENSORS))


def _tensor(value: Value) -> Tensor:
    record = value.fields(Tensor._fields)
    shapes = {
        label: tuple(axis.integer() for axis in record[label].list(0, _MAX_AXES))
        for label in ("normal", "folded", "packed")
    }
    try:
        tensor = make_tensor(
            record["name"].text(MAX_NAME),
            record["datatype"].text(MAX_NAME),
            shapes["normal"],
            shapes["folded"],
            record["layout"].text(MAX_NAME),
            record["dma"].text(MAX_NAME, _BLOCK, "the name of a block"),
        )
    except ManifestInvalid:
        raise
    except LabdError as error:
        raise value.origin.fault("{}: {}".format(value.path, error.what)) from error
    if tensor.packed != shapes["packed"]:
        raise value.origin.fault(
            "{}: packed shape is {}, {} of datatype {} packs to {}".format(
                value.path, shapes["packed"], tensor.folded, tensor.datatype.name, tensor.packed
            )
        )
    return tensor
