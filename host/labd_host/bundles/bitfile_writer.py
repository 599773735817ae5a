"""Write the .bit of a bundle for virtual boards.

The header and the frame of configuration packets are what a device and pynq look at; between them,
where silicon would find its configuration, stands the digest of the network the emulated logic
computes with. The same arguments give the same bytes.

Source: shared/labd_shared/bitfile.py (the layout); Xilinx UG470 chapter 5 (packets).
"""

from __future__ import annotations

import struct
from pathlib import Path

from labd_shared.bitfile import IDCODES, NETWORK_MARK, PYNQ_Z2_PART, SYNC, WRITE_IDCODE, device_of
from labd_shared.errors import UsageError, unknown_name

DESIGN = "labd_emulated;UserID=0XFFFFFFFF;Version=2022.2"
DATE, TIME = "2000/01/01", "00:00:00"  # fixed: a bundle built twice is the same bundle

DUMMY, NOOP = 0xFFFFFFFF, 0x20000000
BUS_WIDTH = (0x000000BB, 0x11220044)
WRITE_COMMAND, RESET_CRC, DESYNC = 0x30008001, 0x00000007, 0x0000000D
WRITE_FRAMES, MANY_WORDS = 0x30004000, 0x50000000  # FDRI, its length in a type 2 packet


def write_bit(path: Path, *, network_sha256: str | None, part: str = PYNQ_Z2_PART) -> None:
    """Write a bitfile that pynq and a virtual board load and a real device would ignore.

    Args:
        path: The file, overwritten.
        network_sha256: Hex digest of the network.npz it belongs to; None leaves it out.
        part: The device, "xc7z020clg400-1".

    Raises:
        UnknownName: no IDCODE is known for *part*.
        UsageError: *network_sha256* is no sha256.
    """
    device = device_of(part)
    if device not in IDCODES:
        raise unknown_name("device", device, IDCODES)
    payload = b"" if network_sha256 is None else NETWORK_MARK + _checked(network_sha256)
    data = _stream(IDCODES[device], payload)
    header = bytes.fromhex("00090ff00ff00ff00ff0000001")
    texts = {b"a": DESIGN, b"b": part.lower().removeprefix("xc").split("-")[0], b"c": DATE, b"d": TIME}
    for key, text in texts.items():
        field = text.encode("ascii") + b"\0"
        header += key + struct.pack(">H", len(field)) + field
    path.write_bytes(header + b"e" + struct.pack(">I", len(data)) + data)


def _checked(digest: str) -> bytes:
    if len(digest) != 64 or any(character not in "0123456789abcdef" for character in digest):
        raise UsageError(f"{digest!r} is no sha256 in hex", fix="take it from labd_shared.digest.file_sha256")
    return digest.encode("ascii")


def _stream(idcode: int, payload: bytes) -> bytes:
    """A configuration stream: synchronise, name the device, *payload* as its frames, desynchronise."""
    payload += bytes(-len(payload) % 4)
    frames = struct.unpack(f">{len(payload) // 4}I", payload)
    words = [*[DUMMY] * 8, *BUS_WIDTH, DUMMY, DUMMY, SYNC, NOOP]
    words += [WRITE_COMMAND, RESET_CRC, NOOP, NOOP, WRITE_IDCODE, idcode]
    if frames:
        words += [WRITE_FRAMES, MANY_WORDS | len(frames), *frames]
    words += [WRITE_COMMAND, DESYNC, *[NOOP] * 4]
    return struct.pack(f">{len(words)}I", *words)
