"""What a part has.

Source: AMD DS190, Zynq-7000 SoC overview, table 1 (a BRAM36 is two BRAM18).
"""

from __future__ import annotations

from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import unknown_name

PARTS = {PYNQ_Z2_PART: {"LUT": 53_200, "FF": 106_400, "BRAM18": 280, "DSP": 220}}
"""Part -> resource -> how many of it there are."""


def resources_of(part: str) -> dict[str, int]:
    """What *part* has.

    Raises:
        UnknownName: labd does not know that part.
    """
    if part not in PARTS:
        raise unknown_name("part", part, PARTS)
    return PARTS[part]
