"""Read a Xilinx .bit file: its header, and as much of the stream behind it as the device checks.

Layout, all big endian::

    0009 | 0ff00ff00ff00ff000 | 0001 | 'a' len design;...;Version | 'b' len part
         | 'c' len date | 'd' len time | 'e' len32 data

Text ends with a NUL, the file ends exactly after the data. The data is a stream of 32-bit words in
which the device looks for a sync word and then for its own IDCODE.

Source: pynq 3.1.2 pl_server/embedded_device.py parse_bit_header; Xilinx UG470 (configuration packets,
IDCODEs); UG585 table 27-4 (Zynq-7000 IDCODEs).
"""

import re
import struct
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple, Union

from labd_shared.errors import ArtifactError, WrongPart
from labd_shared.files import read_bounded

MAX_BIT_BYTES = 64 << 20  # the largest Zynq-7000 bitstream has 17 MB
SYNC = 0xAA995566
WRITE_IDCODE = 0x30018001  # type 1 packet: write one word to the IDCODE register
IDCODE_MASK = 0x0FFFFFFF  # the upper four bits are the silicon's revision
IDCODES = {
    "xc7z010": 0x03722093,
    "xc7z015": 0x0373B093,
    "xc7z020": 0x03727093,
    "xc7z030": 0x0372C093,
    "xc7z045": 0x03731093,
    "xc7z100": 0x03736093,
}
"""Device -> IDCODE."""

PYNQ_Z2_PART, PYNQ_Z2_DEVICE = "xc7z020clg400-1", "xc7z020"
NETWORK_MARK = b"labd emulated accelerator, network sha256 "
"""In a bitfile for virtual boards this stands before the sha256 (64 hex digits) of its network.npz."""

_PREAMBLE = bytes.fromhex("00090ff00ff00ff00ff0000001")
_TEXT_FIELDS = {b"a": "design", b"b": "part", b"c": "date", b"d": "time"}
_REBUILD = "copy or build the bitfile again"


class Bit(NamedTuple):
    """A bitfile.

    Attributes:
        design: What Vivado called the design.
        version: The Vivado that wrote it, "" where the header does not say.
        part: "7z020clg400": no "xc" in front, no speed grade.
        date, time: When it was written, as text.
        data: The configuration stream.
        idcode: The device it configures, 0 where the stream writes none.
    """

    design: str
    version: str
    part: str
    date: str
    time: str
    data: bytes
    idcode: int

    def network_sha256(self) -> Optional[str]:
        """The digest of the network a bitfile for virtual boards belongs to, None in any other."""
        found = re.search(re.escape(NETWORK_MARK) + b"([0-9a-f]{64})", self.data)
        return found.group(1).decode("ascii") if found else None


def read_bit(path: Union[str, Path]) -> Bit:
    """Read and check a .bit file.

    Raises:
        ArtifactError: no such file, larger than any, cut short, longer than it says, or a stream
            without a sync word.
    """
    return parse_bit(read_bounded(path, MAX_BIT_BYTES, _REBUILD), str(path))


def parse_bit(content: bytes, name: str = "the bitfile") -> Bit:
    """Check the bytes of a .bit file; *name* stands in the errors, which are `read_bit`'s."""
    if not content.startswith(_PREAMBLE):
        raise ArtifactError("{} does not begin like a .bit file".format(name), fix=_REBUILD)
    fields, data = _fields(content, name)
    missing = [field for field in ("design", "part") if field not in fields]
    if missing:
        raise ArtifactError("the header of {} has no {}".format(name, " and no ".join(missing)), fix=_REBUILD)
    names = fields["design"].split(";")
    version = names[-1].split("=", 1)[1] if names[-1].startswith("Version=") else ""
    part, date, time = fields["part"], fields.get("date", ""), fields.get("time", "")
    return Bit(names[0], version, part, date, time, data, _idcode(data, name))


def _fields(content: bytes, name: str) -> Tuple[Dict[str, str], bytes]:
    """The header's texts and the configuration stream."""
    fields: Dict[str, str] = {}
    at = len(_PREAMBLE)
    while True:
        key = content[at : at + 1]
        at += 1
        if key == b"e":
            (length,) = struct.unpack(">I", _exactly(content, at, 4, name))
            data = content[at + 4 :]
            if len(data) != length:
                raise ArtifactError(
                    "{} holds {} bytes of configuration, its header says {}".format(name, len(data), length),
                    fix=_REBUILD,
                )
            return fields, data
        if key not in _TEXT_FIELDS:
            raise ArtifactError("{} is cut short or damaged at byte {}".format(name, at - 1), fix=_REBUILD)
        (length,) = struct.unpack(">H", _exactly(content, at, 2, name))
        text = _exactly(content, at + 2, length, name)
        fields[_TEXT_FIELDS[key]] = text.rstrip(b"\0").decode("ascii", "replace")
        at += 2 + length


def _exactly(content: bytes, at: int, length: int, name: str) -> bytes:
    piece = content[at : at + length]
    if len(piece) != length:
        raise ArtifactError("{} is cut short at byte {}".format(name, len(content)), fix=_REBUILD)
    return piece


def _idcode(data: bytes, name: str) -> int:
    """The IDCODE the stream writes after its sync word, 0 where it writes none."""
    start = data.find(struct.pack(">I", SYNC))
    if start < 0:
        raise ArtifactError(
            "{} has no sync word {:08X}: no device would load it".format(name, SYNC), fix=_REBUILD
        )
    write = data.find(struct.pack(">I", WRITE_IDCODE), start)
    if write < 0 or write + 8 > len(data):
        return 0
    (idcode,) = struct.unpack(">I", data[write + 4 : write + 8])
    return int(idcode)


def device_of(part: str) -> str:
    """The device of a *part*, without package and speed grade.

    >>> device_of("xc7z020clg400-1")
    'xc7z020'
    """
    return part.lower()[: len(PYNQ_Z2_DEVICE)]


def check_part(bit: Bit, part: str = PYNQ_Z2_PART) -> None:
    """Check that *bit* configures *part* ("xc7z020clg400-1"), as the device itself would.

    Raises:
        WrongPart: header or IDCODE name another device.
    """
    wanted = part.lower().split("-")[0]
    named = "xc" + bit.part.lower().split("-")[0]
    device = device_of(part)
    fix = "build for {}, or take a board that has a {}".format(part, named)
    if named != wanted:
        raise WrongPart("the bitfile is for {}, the board has a {}".format(named, part), fix=fix, part=named)
    expected = IDCODES.get(device)
    if expected is not None and bit.idcode & IDCODE_MASK != expected & IDCODE_MASK:
        owners = [name for name, code in IDCODES.items() if code & IDCODE_MASK == bit.idcode & IDCODE_MASK]
        raise WrongPart(
            "the bitfile's IDCODE is {:08X} ({}), the board has a {} with {:08X}".format(
                bit.idcode, owners[0] if owners else "no Zynq-7000", part, expected
            ),
            fix="build for {}".format(part),
            part=owners[0] if owners else "",
        )
