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

from labd_host.dataflow.layers import KINDS, Array, DataflowGraph, Layer
from labd_shared.archive import add_member
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import ArtifactError, LabdError
from labd_shared.records import Origin, Value, parse_json
from labd_shared.tensors import Tensor, count, make_tensor

FORMAT = "labd-network"
VERSION = 1
MAX_FILE_BYTES = 256 << 20
MAX_JSON_BYTES = 4 << 20
MAX_LAYERS = 1000
MAX_AXIS = 1 << 24  # bounds every size a layer may claim
MAX_LINE, MAX_AXES, MAX_INTEGER = 200, 16, 1 << 40
MAX_FRAME_VALUES = 1 << 26  # of one layer: what the golden model holds for a single frame
_DESCRIPTION = "network.json"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_REBUILD = "compile the network again: labd compile NETWORK --folding lab -o DIR"
_ORIGIN = Origin(_DESCRIPTION, _REBUILD)


def write_network(network: DataflowGraph, path: Path) -> None:
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


def read_network(path: Path) -> DataflowGraph:
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


def _describe(network: DataflowGraph) -> dict[str, Any]:
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


def _read(archive: zipfile.ZipFile) -> DataflowGraph:
    members = {info.filename: info for info in archive.infolist()}
    total = sum(info.file_size for info in members.values())
    if total > MAX_FILE_BYTES or len(members) > 2 * MAX_LAYERS + 1:
        raise ArtifactError(f"the network file holds {len(members)} members, {total} bytes", fix=_REBUILD)
    if _DESCRIPTION not in members or members[_DESCRIPTION].file_size > MAX_JSON_BYTES:
        raise ArtifactError(f"the network file has no {_DESCRIPTION}, or an oversized one", fix=_REBUILD)
    description = parse_json(archive.read(_DESCRIPTION), MAX_JSON_BYTES, _ORIGIN).of_format(FORMAT, VERSION)
    record = description.fields(("name", "inputs", "outputs", "layers"), None)
    layers = tuple(_layer(entry) for entry in record["layers"].list(0, MAX_LAYERS))
    names = {_DESCRIPTION} | {f"{layer.name}.{key}.npy" for layer in layers for key in layer.array_forms()}
    if names != set(members) or len({layer.name for layer in layers}) != len(layers):
        raise ArtifactError("the network file's arrays are not the ones its layers need", fix=_REBUILD)
    arrays = {}
    for layer in layers:
        for key, (dtype, shape) in layer.array_forms().items():
            stored = _array(archive.read(f"{layer.name}.{key}.npy"), dtype, shape, f"{layer.name}.{key}")
            arrays[f"{layer.name}.{key}"] = _restored(layer, key, stored)
    network = DataflowGraph(
        name=record["name"].text(MAX_LINE),
        layers=layers,
        inputs=tuple(_tensor(entry) for entry in record["inputs"].list(0, MAX_LAYERS)),
        outputs=tuple(_tensor(entry) for entry in record["outputs"].list(0, MAX_LAYERS)),
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


def _layer(entry: Value) -> Layer:
    found = entry.entries()
    kind = _KINDS.get(found["op"].raw) if "op" in found and isinstance(found["op"].raw, str) else None
    if kind is None:
        entry.refuse(f"a layer whose op is one of {', '.join(sorted(_KINDS))}")
    readers = {
        each.name: _READERS[each.type if isinstance(each.type, str) else each.type.__name__]
        for each in fields(kind)  # type: ignore[arg-type]  # every kind is a dataclass
    }
    known = entry.fields(("op", *readers))
    layer = kind(**{key: read(known[key]) for key, read in readers.items()})
    if not _NAME.fullmatch(layer.name):
        known["name"].refuse("the name of a layer")
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


def _check_chain(network: DataflowGraph) -> None:
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


def _tensor(entry: Value) -> Tensor:
    record = entry.fields(("name", "datatype", "normal", "folded", "layout", "dma"), None)
    shapes = {
        key: tuple(axis.integer(-MAX_INTEGER, MAX_INTEGER) for axis in record[key].list(0, MAX_AXES))
        for key in ("normal", "folded")
    }
    texts = {key: record[key].text(MAX_LINE) for key in ("name", "datatype", "layout", "dma")}
    try:
        return make_tensor(
            texts["name"],
            texts["datatype"],
            shapes["normal"],
            shapes["folded"],
            texts["layout"],
            texts["dma"],
        )
    except LabdError as error:
        raise entry.origin.fault(f"{entry.path}: {error.what}") from error


_READERS: dict[str, Callable[[Value], Any]] = {
    "str": lambda value: value.text(MAX_LINE),
    "int": lambda value: value.integer(-MAX_INTEGER, MAX_INTEGER),
    "bool": Value.truth,
}
