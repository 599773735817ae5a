"""Exports stored small: a network with 1-bit weights takes about a bit a weight.

Only the sign of a latent weight reaches the network's arithmetic, so the sign is stored in its place,
and the file is compressed with xz, which leaves little more than a bit of each float32 of -1 or +1. The
ONNX itself stays an ordinary one, and its record's digest is that of the unpacked file, whatever the
version of xz that packed it.
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labd_host.exports.onnx_file import MAX_MODEL_BYTES
from labd_host.machine import places
from labd_shared.digest import bytes_sha256, file_sha256
from labd_shared.errors import ArtifactError, DigestMismatch, UsageError
from labd_shared.files import replacing

if TYPE_CHECKING:
    import onnx

SUFFIX = ".xz"
AGAIN = "reinstall labd, or in a checkout: git checkout host/labd_host/networks/trained"


def keep_signs(model: onnx.ModelProto) -> int:
    """Replace the constants that *model* takes the sign of by their signs, in place; how many weights that were.

    What `BipolarQuant` gives is the same for a value and for its sign.
    """
    from onnx import numpy_helper

    constants = {entry.name: entry for entry in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    weights = 0
    for node in model.graph.node:
        if (
            node.op_type == "BipolarQuant"
            and node.input[0] in constants
            and readers.count(node.input[0]) == 1
        ):
            latent = numpy_helper.to_array(constants[node.input[0]])
            signs = np.where(latent >= 0, np.float32(1), np.float32(-1))
            constants[node.input[0]].CopyFrom(numpy_helper.from_array(signs, node.input[0]))
            weights += latent.size
    return weights


def pack(path: Path) -> Path:
    """Write *path* compressed beside itself, as NAME.onnx.xz."""
    packed = path.with_name(path.name + SUFFIX)
    packed.write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    return packed


def unpacked(packed: Path, sha256: str) -> Path:
    """The ONNX in *packed*, in the user's cache; it is unpacked on first use and its digest checked each time.

    Raises:
        ArtifactError: *packed* is damaged, or too large.
        DigestMismatch: what is in it is not what its record says.
        UsageError: the cache cannot be written.
    """
    target = places.cache() / "trained" / sha256[:16] / packed.name.removesuffix(SUFFIX)
    if target.is_file() and file_sha256(target) == sha256:
        return target
    data = _decompress(packed)
    if (found := bytes_sha256(data)) != sha256:
        raise DigestMismatch(
            f"{packed} holds an export of sha256 {found[:12]}..., its record says {sha256[:12]}...",
            fix=AGAIN,
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as making:
            making.write_bytes(data)
    except OSError as error:
        raise UsageError(
            f"{target.parent} cannot be written: {error.strerror}", fix="set LABD_CACHE to another folder"
        ) from error
    return target


def _decompress(packed: Path) -> bytes:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        data = unpacker.decompress(packed.read_bytes(), MAX_MODEL_BYTES)
    except (lzma.LZMAError, EOFError) as error:
        raise ArtifactError(f"{packed} is damaged: {error}", fix=AGAIN) from error
    if not unpacker.eof:
        raise ArtifactError(f"{packed} is cut short, or holds more than {MAX_MODEL_BYTES} bytes", fix=AGAIN)
    return data
