"""Read a Vivado hardware handoff (.hwh): the part, the clocks and where the blocks lie.

Addresses move with the Vivado version (odma0: 0x40001000 in 2023.2, 0x40010000 in 2020.1), so they
are always taken from here. The file comes from outside: its size is bounded, and a document type or
an entity, which no Vivado writes, is refused before the XML is parsed.

Source: .hwh files of FINN's shell by Vivado 2020.1 to 2023.2; pynq 3.1.2 and pynqmetadata 0.2.0
(what they read of it); Xilinx UG585 chapter 25 (clocks).
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Dict, NamedTuple, Union

from labd_shared.errors import ArtifactError
from labd_shared.files import read_bounded

MAX_HWH_BYTES = 32 << 20
PLL_MHZ = {"IO PLL": 1000.0, "ARM PLL": 1300.0, "DDR PLL": 1050.0}
"""PLL -> its clock on a PYNQ-Z2 (50 MHz reference), MHz."""

_REBUILD = "copy the .hwh that was built together with the bitfile"


class Block(NamedTuple):
    """A block of the design that the processor can address.

    Attributes:
        base: First address.
        size: Bytes it answers to.
        vlnv: What it is, "vendor:library:name:version".
    """

    base: int
    size: int
    vlnv: str


class Hwh(NamedTuple):
    """What a .hwh says.

    Attributes:
        part: "xc7z020clg400-1".
        clocks_mhz: PL clock 0 to 3 -> MHz, the enabled ones.
        blocks: Instance -> block, the addressable ones.
    """

    part: str
    clocks_mhz: Dict[int, float]
    blocks: Dict[str, Block]

    @property
    def fclk0_mhz(self) -> float:
        """PL clock 0, MHz; 0.0 where it is off."""
        return self.clocks_mhz.get(0, 0.0)


def read_hwh(path: Union[str, Path]) -> Hwh:
    """Read a .hwh file.

    Raises:
        ArtifactError: no such file, too large, not XML, with a document type, or without a Zynq-7000
            processing system.
    """
    return parse_hwh(read_bounded(path, MAX_HWH_BYTES, _REBUILD), str(path))


def parse_hwh(content: bytes, name: str = "the .hwh") -> Hwh:
    """Read the bytes of a .hwh; *name* stands in the errors, which are `read_hwh`'s."""
    # A NUL byte means UTF-16, in which the two words below would not be found.
    if b"\0" in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ArtifactError(
            "{} declares a document type or entities, or is no UTF-8".format(name), fix=_REBUILD
        )
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ArtifactError("{} is not XML: {}".format(name, error), fix=_REBUILD) from error
    processor = root.find(".//MODULE[@MODTYPE='processing_system7']")
    if processor is None:
        raise ArtifactError("{} holds no Zynq-7000 processing system".format(name), fix=_REBUILD)
    try:
        return Hwh(_part(root), _clocks_mhz(processor), _blocks(root, processor))
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ArtifactError(
            "{} says something else than a .hwh must: {}".format(name, error), fix=_REBUILD
        ) from error


def _part(root: ElementTree.Element) -> str:
    system = root.find("SYSTEMINFO")
    if system is None:
        raise ValueError("no SYSTEMINFO")
    device, package = system.get("DEVICE", ""), system.get("PACKAGE", "")
    return ("xc" + device + package + system.get("SPEEDGRADE", "")).lower()


def _clocks_mhz(processor: ElementTree.Element) -> Dict[int, float]:
    said = {
        entry.get("NAME", ""): entry.get("VALUE", "") for entry in processor.findall("PARAMETERS/PARAMETER")
    }
    clocks = {}
    for index in range(4):
        if int(said.get("PCW_FPGA_FCLK{}_ENABLE".format(index), "0")):
            divisor0 = int(said["PCW_FCLK{}_PERIPHERAL_DIVISOR0".format(index)])
            divisor1 = int(said["PCW_FCLK{}_PERIPHERAL_DIVISOR1".format(index)])
            source = said.get("PCW_FCLK{}_PERIPHERAL_CLKSRC".format(index), "IO PLL")
            clocks[index] = PLL_MHZ[source] / (divisor0 * divisor1)
    return clocks


def _blocks(root: ElementTree.Element, processor: ElementTree.Element) -> Dict[str, Block]:
    kinds = {module.get("INSTANCE", ""): module.get("VLNV", "") for module in root.iter("MODULE")}
    blocks = {}
    for entry in processor.findall("MEMORYMAP/MEMRANGE"):
        if entry.get("MEMTYPE") == "REGISTER":
            instance = entry.attrib["INSTANCE"]
            base, high = int(entry.attrib["BASEVALUE"], 16), int(entry.attrib["HIGHVALUE"], 16)
            if high < base:
                raise ValueError("{} ends at {:#x}, before it begins at {:#x}".format(instance, high, base))
            blocks[instance] = Block(base, high - base + 1, kinds.get(instance, ""))
    return blocks
