"""The FPGAs there are folded for, and how full they may become.

Source: Xilinx DS190 (the cells); finn-plus 1.6.1, util/platforms.py (how much of them AMD recommends
to use where timing is to close: 70 % of the LUTs, 50 % of the flip-flops, 80 % of block RAMs and DSPs).
"""

from __future__ import annotations

from dataclasses import dataclass

from labd_host.dataflow.resources import Resources
from labd_shared.errors import unknown_name


@dataclass(frozen=True)
class Part:
    """One FPGA.

    Attributes:
        name: "xc7z020".
        holds: Its cells.
        recommended: What a design should use of them at most, for timing's sake.
    """

    name: str
    holds: Resources
    recommended: Resources


_SHARES = {"lut": 0.70, "ff": 0.50, "bram18": 0.80, "dsp": 0.80, "uram": 0.80}


def _part(name: str, **cells: int) -> Part:
    return Part(
        name, Resources(**cells), Resources(**{key: int(_SHARES[key] * many) for key, many in cells.items()})
    )


PARTS = {
    part.name: part
    for part in (
        _part("xc7z010", lut=17_600, ff=35_200, bram18=120, dsp=80),
        _part("xc7z020", lut=53_200, ff=106_400, bram18=280, dsp=220),
        _part("xc7z045", lut=218_600, ff=437_200, bram18=1_090, dsp=900),
    )
}


def part_of(name: str) -> Part:
    """The part called *name*, with or without its package ("xc7z020clg400-1").

    Raises:
        UnknownName: labd knows no such part.
    """
    for known, part in PARTS.items():
        if name.lower().startswith(known):
            return part
    raise unknown_name("part", name, PARTS)
