"""What a folding can say of a layer: its axes, their legal values, the settings FINN takes.

Source: finn-plus 1.6.1, util/basic.py (an HLS stream has at most 8191 bits, the widest ap_uint).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

MAX_STREAM_BITS = 8191  # an HLS ap_uint

Attribute = int | str | list[int]
NodeSettings = Mapping[str, Attribute]


@dataclass(frozen=True)
class Axis:
    """One direction in which a layer is folded.

    Attributes:
        key: "PE" or "SIMD", as FINN's folding says it.
        extent: How many there are; a legal value divides it.
        meaning: Of what: "rows", "columns", "channels", "labels".
    """

    key: str
    extent: int
    meaning: str

    def fault(self, layer: str, value: Any) -> str | None:
        """Why *value* is not legal for the layer of that name; None where it is."""
        if type(value) is int and value >= 1 and self.extent % value == 0:
            return None
        return (
            f"{self.key} {value!r} of {layer} does not divide its {self.extent} {self.meaning}; "
            f"nearest legal: {listed(_nearest(self.extent, value))}"
        )

    def too_wide(self, layer: str, stream: str, value: int, bits: int) -> list[str]:
        """The fault of an HLS stream of *value* times *bits* bits, where that is too wide."""
        if value * bits <= MAX_STREAM_BITS:
            return []
        legal = [each for each in divisors(self.extent) if each * bits <= MAX_STREAM_BITS]
        return [
            f"the {stream} stream of {layer} is {value * bits} bits wide at {self.key} {value}, "
            f"{MAX_STREAM_BITS} is the most; nearest legal {self.key}: {listed(legal[-1:])}"
        ]


@cache
def divisors(extent: int) -> tuple[int, ...]:
    """What divides *extent*, ascending."""
    return tuple(each for each in range(1, extent + 1) if extent % each == 0)


def listed(values: Iterable[int]) -> str:
    """*values* as text, "none" where there are none."""
    return ", ".join(str(value) for value in values) or "none"


def _nearest(extent: int, value: Any) -> list[int]:
    """The divisors next to *value*, below and above."""
    there = divisors(extent)
    if type(value) is not int:
        return [*there]
    return [each for each in there if each < value][-1:] + [each for each in there if each > value][:1]
