"""A small picture as a PNG that a page carries in itself.

Source: PNG (W3C, third edition), 8 bits a sample, no filter.
"""

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_shared.errors import ShapeError

_COLOUR_TYPE = {1: 0, 3: 2}  # grey, red green blue
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(image: npt.NDArray[Any]) -> bytes:
    """The file of *image*, uint8 (height, width, 1 or 3).

    Raises:
        ShapeError: it is of another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in _COLOUR_TYPE or not image.size:
        raise ShapeError(
            f"an image of {image.dtype} {image.shape} cannot be shown",
            fix="give uint8 (height, width, 1 or 3)",
        )
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = image.reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_uri(image: npt.NDArray[Any]) -> str:
    """*image* as the address of an ``img``; see `png`."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")
