"""An ONNX file read within bounds, with the data that lie in files beside it.

Large exports keep their weights in a second file (ONNX's external data). Its path is taken relative to the model's
folder and must stay inside: no absolute path, no ``..``, no link that leads out. All sizes are checked before
anything is read.

Source: ONNX's ExternalData.md (location, offset, length).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from labd_shared.digest import bytes_sha256, file_sha256
from labd_shared.errors import ArtifactError
from labd_shared.files import read_bounded

if TYPE_CHECKING:
    import onnx

QONNX_DOMAIN = "qonnx.custom_op.general"
READ_AS = "labd.read_as"  # a model's own record of what labd changed when it read the file, kept through FINN's stages
MAX_MODEL_BYTES = 1 << 30  # of the file and the data beside it together
MAX_NODES = 20_000
AGAIN = "export the network again, or copy the whole file"
TOGETHER = (
    "copy the model together with its data file, or save it as one file: onnx.save(onnx.load(PATH), PATH)"
)


def load_onnx(path: Path) -> onnx.ModelProto:
    """The ONNX model in *path*, all its data inside.

    Raises:
        ArtifactError: no such file, too large, not an ONNX network, or its external data cannot be read.
    """
    return load_with_data(path)[0]


def load_with_data(path: Path) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The same, and the files beside *path* that hold its data: name -> how many constants are from there."""
    import onnx
    from google.protobuf.message import DecodeError

    if not path.exists():
        raise ArtifactError(
            f"no exported network at {path}", fix="give the path of an exported network (.onnx)"
        )
    if not path.is_file():
        raise ArtifactError(
            f"{path} is not a regular file", fix="give the path of an exported network (.onnx)"
        )
    content = read_bounded(path, MAX_MODEL_BYTES, AGAIN)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise ArtifactError(f"{path} is not an ONNX model, or cut short: {error}", fix=AGAIN) from error
    if not model.graph.node or not model.graph.output:
        raise ArtifactError(
            f"{path} is not an ONNX network: {len(model.graph.node)} nodes, {len(model.graph.output)} outputs",
            fix=AGAIN,
        )
    if len(model.graph.node) > MAX_NODES:
        raise ArtifactError(
            f"{path} has {len(model.graph.node)} nodes, more than {MAX_NODES}", fix="choose a smaller network"
        )
    room = MAX_MODEL_BYTES - len(content)
    sources: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            source = _inside(tensor, path)
            room -= _take_in(tensor, path, source, room)
            sources[source.name] = sources.get(source.name, 0) + 1
    return model, sources


def network_sha256(path: Path) -> str:
    """Digest of the network in *path*: of the file, and where data lie beside it of these as well.

    Raises:
        ArtifactError: as `load_onnx`.
    """
    model, sources = load_with_data(path)
    return bytes_sha256(model.SerializeToString(deterministic=True)) if sources else file_sha256(path)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The constants of the graph, and those that are attributes of its nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _take_in(tensor: onnx.TensorProto, path: Path, source: Path, room: int) -> int:
    """Read the data of *tensor* from *source*, a file beside *path*; how many bytes they are."""
    from onnx import helper

    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        wanted = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", wanted))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: the place of the data of {tensor.name} is damaged: {error}", fix=AGAIN
        ) from error
    if not 0 <= wanted == length or offset < 0:
        raise ArtifactError(
            f"{path}: {tensor.name} has {list(tensor.dims)} values of {wanted} bytes, its data are "
            f"{length} bytes at {offset}",
            fix=AGAIN,
        )
    if length > room:
        raise ArtifactError(
            f"{path} and its data have more than {MAX_MODEL_BYTES} bytes", fix="choose a smaller network"
        )
    try:
        with source.open("rb") as handle:
            there = os.fstat(handle.fileno()).st_size
            if offset + length > there:
                raise ArtifactError(
                    f"the data of {tensor.name} end at byte {offset + length} of {source.name}, which has {there}",
                    fix=TOGETHER,
                )
            handle.seek(offset)
            tensor.raw_data = handle.read(length)
    except OSError as error:
        raise ArtifactError(
            f"the data of {tensor.name} cannot be read from {source}: {error.strerror}", fix=TOGETHER
        ) from error
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    return length


def _inside(tensor: onnx.TensorProto, path: Path) -> Path:
    """The file of *tensor*'s data: a regular one, inside the folder of *path*."""
    location = next((str(entry.value) for entry in tensor.external_data if entry.key == "location"), "")
    where = f"the data of {tensor.name} in {path.name} are in {location!r}"
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    if not parts or "\0" in location or parts[0] == "/" or ".." in parts or windows.drive or "\\" in location:
        raise ArtifactError(f"{where}, which is not a path inside the model's folder", fix=TOGETHER)
    try:
        folder = path.parent.resolve(strict=True)
        source = folder.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{where}, which cannot be found beside the model", fix=TOGETHER) from error
    if not source.is_relative_to(folder):
        raise ArtifactError(f"{where}, a link that leads out of the model's folder", fix=TOGETHER)
    if not source.is_file():
        raise ArtifactError(f"{where}, which is not a regular file", fix=TOGETHER)
    return source
