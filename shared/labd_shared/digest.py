"""One way to hash files, images and JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    import hashlib

CHUNK_BYTES = 1 << 20


def _sha256(data: bytes = b"") -> "hashlib._Hash":
    import hashlib  # and with it OpenSSL, 3.7 MB: not paid for by who only streams

    return hashlib.sha256(data)


def file_sha256(path: Union[str, Path]) -> str:
    """Hex sha256 of a file, read in chunks."""
    digest = _sha256()
    with open(str(path), "rb") as handle:
        for chunk in iter(lambda: handle.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def bytes_sha256(data: bytes) -> str:
    """Hex sha256 of *data*."""
    return _sha256(data).hexdigest()


def json_sha256(value: Any) -> str:
    """Hex sha256 of *value* as canonical JSON: the same value gives the same digest anywhere."""
    return bytes_sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    )


def image_digest(image_bytes: bytes) -> int:
    """The first 8 bytes (big endian) of the sha256 of one image's raw uint8 bytes, as an integer.

    Predictions are compared by this, never by row number: archives of one data set differ in order.
    """
    return int.from_bytes(_sha256(image_bytes).digest()[:8], "big")
