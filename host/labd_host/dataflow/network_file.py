"""``network.npz``: a dataflow network in one file that needs neither FINN nor ONNX to read.

A zip archive with ``network.json`` (format, version, tensors, layers in order) and one ``.npy`` a
array. Weights of datatype BINARY are stored as bits, row by row, lowest bit first; other weights as
the smallest signed integers; thresholds as int64. The same network gives the same bytes: members
in a fixed order, stored, with a fixed time. Nothing of the file is believed: sizes are bounded
before anything is read, and every array must have the type and shape its layer asks for.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from labd_host.dataflow.layers import KINDS, Array, Layer, Network
from labd_shared.archive import add_member
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import ArtifactError, LabdError
from labd_shared.tensors import Tensor, count, make_tensor

FORMAT = "labd-network"
VERSION = 1
MAX_FILE_BYTES = 256 << 20
MAX_JSON_BYTES = 4 << 20
MAX_LAYERS = 1000
MAX_AXIS = 1 << 24  # bounds every size a layer may claim
MAX_FRAME_VALUES = 1 << 26  # of one layer: what the golden model holds for a single frame
_DESCRIPTION = "network.json"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_REBUILD = "compile the network again: labd compile NETWORK --folding lab -o DIR"


def write_network(network: Network, path: Path) -> None:
    """Write *network*; the same network gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        add_member(
            archive,
            _DESCRIPTION,
            json.dumps(_describe(network), indent=1, sort_keys=True).encode("ascii"),
            zipfile.ZIP_STORED,
        )
        for layer in network.layers:
            for key, (dtype, shape) in layer.array_forms().items():
                stored = layer.store(key, network.arrays[f"{layer.name}.{key}"])
                if stored.dtype != dtype or stored.shape != shape:
                    raise ArtifactError(
                        f"{key} of {layer.name} are {stored.dtype} {stored.shape}, "
                        f"the layer needs {dtype} {shape}",
                        fix=_REBUILD,
                    )
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, stored, version=(1, 0), allow_pickle=False)
                add_member(archive, f"{layer.name}.{key}.npy", buffer.getvalue(), zipfile.ZIP_STORED)


def read_network(path: Path) -> Network:
    """Read and check a ``network.npz``.

    Raises:
        ArtifactError: missing, damaged, of another version, or contradicting itself.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}", fix=_REBUILD) from error
    if size > MAX_FILE_BYTES:
        raise ArtifactError(f"{path.name} is {size} bytes, more than {MAX_FILE_BYTES}", fix=_REBUILD)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except ArtifactError:
        raise
    except LabdError as error:
        raise ArtifactError(f"{path.name}: {error.what}", fix=_REBUILD) from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError, ValueError) as error:
        raise ArtifactError(f"{path.name} is damaged: {error}", fix=_REBUILD) from error


def _describe(network: Network) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": network.name,
        "inputs": [_describe_tensor(tensor) for tensor in network.inputs],
        "outputs": [_describe_tensor(tensor) for tensor in network.outputs],
        "layers": [{"op": layer.op, **layer.record()} for layer in network.layers],
    }


def _describe_tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype.name,
        "normal": list(tensor.normal),
        "folded": list(tensor.folded),
        "layout": tensor.layout,
        "dma": tensor.dma,
    }


def _read(archive: zipfile.ZipFile) -> Network:
    members = {info.filename: info for info in archive.infolist()}
    total = sum(info.file_size for info in members.values())
    if total > MAX_FILE_BYTES or len(members) > 2 * MAX_LAYERS + 1:
        raise ArtifactError(f"the network file holds {len(members)} members, {total} bytes", fix=_REBUILD)
    if _DESCRIPTION not in members or members[_DESCRIPTION].file_size > MAX_JSON_BYTES:
        raise ArtifactError(f"the network file has no {_DESCRIPTION}, or an oversized one", fix=_REBUILD)
    record = json.loads(archive.read(_DESCRIPTION).decode("utf-8"))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ArtifactError(f"the network file is not of format {FORMAT!r}", fix=_REBUILD)
    if record.get("version") != VERSION:
        raise ArtifactError(
            f"the network file is of version {record.get('version')!r}, this labd reads version {VERSION}",
            fix=_REBUILD,
        )
    layers = tuple(_layer(entry) for entry in _list(record, "layers"))
    names = {_DESCRIPTION} | {f"{layer.name}.{key}.npy" for layer in layers for key in layer.array_forms()}
    if names != set(members) or len({layer.name for layer in layers}) != len(layers):
        raise ArtifactError("the network file's arrays are not the ones its layers need", fix=_REBUILD)
    arrays = {}
    for layer in layers:
        for key, (dtype, shape) in layer.array_forms().items():
            stored = _array(archive.read(f"{layer.name}.{key}.npy"), dtype, shape, f"{layer.name}.{key}")
            arrays[f"{layer.name}.{key}"] = _restored(layer, key, stored)
    network = Network(
        name=_text(record, "name"),
        layers=layers,
        inputs=tuple(_tensor(entry) for entry in _list(record, "inputs")),
        outputs=tuple(_tensor(entry) for entry in _list(record, "outputs")),
        arrays=arrays,
    )
    _check_chain(network)
    return network


def _array(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    """The array in the ``.npy`` *data*, whose header must say *dtype* and *shape* before it is believed."""
    buffer = io.BytesIO(data)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ArtifactError(f"{name} is no .npy of version 1.0", fix=_REBUILD)
    found_shape, fortran, found_dtype = np.lib.format.read_array_header_1_0(buffer)
    if fortran or found_dtype != dtype or found_shape != shape:
        raise ArtifactError(
            f"{name} is {found_dtype} {found_shape}, its layer needs {dtype} {shape}", fix=_REBUILD
        )
    rest = buffer.read()
    if len(rest) != count(shape) * dtype.itemsize:
        raise ArtifactError(
            f"{name} holds {len(rest)} bytes, {count(shape) * dtype.itemsize} are wanted", fix=_REBUILD
        )
    return np.frombuffer(rest, dtype=dtype).reshape(shape)


def _restored(layer: Layer, key: str, stored: Array) -> Array:
    try:
        return layer.restore(key, stored)
    except ValueError as error:
        raise ArtifactError(str(error), fix=_REBUILD) from error


_KINDS = {kind.op: kind for kind in KINDS}


def _layer(entry: Any) -> Layer:
    kind = _KINDS.get(entry.get("op", "")) if isinstance(entry, dict) else None
    if kind is None:
        raise ArtifactError(f"unknown layer entry in the network file: {entry!r:.80}", fix=_REBUILD)
    wanted: dict[str, Callable[[dict[str, Any], str], Any]] = {
        each.name: _READERS[each.type if isinstance(each.type, str) else each.type.__name__]
        for each in fields(kind)  # type: ignore[arg-type]  # every kind is a dataclass
    }
    if set(entry) != set(wanted) | {"op"}:
        raise ArtifactError(f"a {kind.op} layer has {sorted(entry)}; wanted: {sorted(wanted)}", fix=_REBUILD)
    layer = kind(**{key: read(entry, key) for key, read in wanted.items()})
    for name in layer.datatypes:
        parse_datatype(name)
    sizes = {key: value for key, value in layer.record().items() if type(value) is int and key != "offset"}
    for key, value in sizes.items():
        if not layer.least.get(key, 1) <= value <= MAX_AXIS:
            raise ArtifactError(f"{key} of {layer.name} is {value}", fix=_REBUILD)
    for fault in layer.faults():
        raise ArtifactError(fault, fix=_REBUILD)
    if max(layer.in_values, layer.out_values) > MAX_FRAME_VALUES:
        raise ArtifactError(
            f"{layer.name} holds {max(layer.in_values, layer.out_values)} values a frame, "
            f"more than {MAX_FRAME_VALUES}",
            fix=_REBUILD,
        )
    return layer


def _check_chain(network: Network) -> None:
    """Every layer takes what the one before it gives, from the first tensor to the last."""
    if len(network.inputs) != 1 or len(network.outputs) != 1 or not 1 <= len(network.layers) <= MAX_LAYERS:
        raise ArtifactError(
            f"the network has {len(network.inputs)} inputs, {len(network.layers)} layers and "
            f"{len(network.outputs)} outputs; a chain from one input to one output is wanted",
            fix=_REBUILD,
        )
    source = network.inputs[0]
    place, values, kind = source.name, count(source.normal), source.datatype.name
    for layer in network.layers:
        if (layer.in_values, layer.input) != (values, kind):
            raise ArtifactError(
                f"{layer.name} takes {layer.in_values} {layer.input} values, {place} gives {values} {kind}",
                fix=_REBUILD,
            )
        place, values, kind = layer.name, layer.out_values, layer.output
    sink = network.outputs[0]
    if (count(sink.normal), sink.datatype.name) != (values, kind):
        raise ArtifactError(
            f"{sink.name} is {count(sink.normal)} {sink.datatype.name} values, {place} gives {values} {kind}",
            fix=_REBUILD,
        )


def _tensor(entry: Any) -> Tensor:
    if not isinstance(entry, dict):
        raise ArtifactError(f"the network file has a tensor that is none: {entry!r:.80}", fix=_REBUILD)
    shapes = {}
    for key in ("normal", "folded"):
        shapes[key] = tuple(_number({key: axis}, key) for axis in _list(entry, key))
    try:
        return make_tensor(
            _text(entry, "name"),
            _text(entry, "datatype"),
            shapes["normal"],
            shapes["folded"],
            _text(entry, "layout"),
            _text(entry, "dma"),
        )
    except LabdError as error:
        raise ArtifactError(f"the network file's tensor: {error.what}", fix=_REBUILD) from error


def _wrong(key: str, value: object, wanted: str) -> ArtifactError:
    return ArtifactError(f"{key} is {value!r:.80} in the network file, {wanted} is wanted", fix=_REBUILD)


def _list(record: dict[str, Any], key: str) -> list[Any]:
    value = record.get(key)
    if not isinstance(value, list) or len(value) > MAX_LAYERS:
        raise _wrong(key, value, "a list")
    return value


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or len(value) > 200:
        raise _wrong(key, value, "a short text")
    return value


def _identifier(record: dict[str, Any], key: str) -> str:
    """Text that may stand in a member's name."""
    value = _text(record, key)
    if key == "name" and not _NAME.fullmatch(value):
        raise ArtifactError(f"{value!r} is no name for a layer", fix=_REBUILD)
    return value


def _number(record: dict[str, Any], key: str) -> int:
    value = record.get(key)
    if type(value) is not int or abs(value) > 1 << 40:
        raise _wrong(key, value, "a number")
    return value


def _truth(record: dict[str, Any], key: str) -> bool:
    value = record.get(key)
    if type(value) is not bool:
        raise _wrong(key, value, "true or false")
    return value


_READERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "str": _identifier,
    "int": _number,
    "bool": _truth,
}
