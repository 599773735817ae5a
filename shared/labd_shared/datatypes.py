"""FINN's integer and fixed-point datatypes by name.

Source: qonnx 1.0.0 core/datatype.py (names, ranges); DESIGN.md (which ones labd carries).
"""

import re
from typing import NamedTuple

from labd_shared.errors import DatatypeError

MAX_BITS = 32


class Datatype(NamedTuple):
    """One element of a tensor.

    ``low`` and ``high`` are the smallest and largest integer on the wire, ``bits`` its width. BIPOLAR
    is the odd one out: its values are -1 and +1, its single bit is 0 for -1. A FIXED value is the
    integer times `step`; of every other type the integer is the value.
    """

    name: str
    bits: int
    low: int
    high: int
    fraction_bits: int = 0

    @property
    def step(self) -> float:
        """Between neighbouring values."""
        return 1.0 / (1 << self.fraction_bits) if self.fraction_bits else 1

    @property
    def signed(self) -> bool:
        """Whether the wire holds two's complement."""
        return self.low < 0 and self.name != "BIPOLAR"

    def allows(self, value: int) -> bool:
        """Whether *value* can be represented."""
        return self.low <= value <= self.high and not (self.name == "BIPOLAR" and value == 0)

    def describe_range(self) -> str:
        """The legal values, for messages."""
        if self.name == "BIPOLAR":
            return "-1 or +1"
        if self.fraction_bits:
            return "{} to {} in steps of {}".format(self.low * self.step, self.high * self.step, self.step)
        return "{} to {}".format(self.low, self.high)


_SPECIAL = {
    "BINARY": Datatype("BINARY", 1, 0, 1),
    "BIPOLAR": Datatype("BIPOLAR", 1, -1, 1),
    "TERNARY": Datatype("TERNARY", 2, -1, 1),
}


def parse_datatype(name: str) -> Datatype:
    """The datatype called *name*: BINARY, BIPOLAR, TERNARY, INT2 to INT32, UINT2 to UINT32, or
    FIXED<bits,integer bits> of 2 to 32 bits.

    Raises:
        DatatypeError: there is no such datatype.

    >>> parse_datatype("INT4")
    Datatype(name='INT4', bits=4, low=-8, high=7, fraction_bits=0)
    >>> parse_datatype("FIXED<8,4>").describe_range()
    '-8.0 to 7.9375 in steps of 0.0625'
    """
    if name in _SPECIAL:
        return _SPECIAL[name]
    fixed = re.match(r"^FIXED<([1-9][0-9]?),([1-9][0-9]?)>$", name)
    if fixed is not None:
        width, whole = int(fixed.group(1)), int(fixed.group(2))
        if whole < width <= MAX_BITS:
            return Datatype(name, width, -(1 << (width - 1)), (1 << (width - 1)) - 1, width - whole)
    match = re.match(r"^(U?)INT([1-9][0-9]?)$", name)
    bits = int(match.group(2)) if match else 0
    if match is None or not 2 <= bits <= MAX_BITS:
        raise DatatypeError(
            "no datatype named {!r}".format(name),
            fix="use BINARY, BIPOLAR, TERNARY, INT2 to INT32, UINT2 to UINT32 or FIXED<bits,integer bits>",
            name=name,
        )
    if match.group(1):
        return Datatype(name, bits, 0, (1 << bits) - 1)
    return Datatype(name, bits, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
