"""FINN's integer datatypes by name.

Source: qonnx 1.0.0 core/datatype.py (names, ranges); DESIGN.md (which ones labd carries).
"""

import re
from typing import NamedTuple

from labd_shared.errors import DatatypeError

MAX_BITS = 32


class Datatype(NamedTuple):
    """One element of a tensor.

    ``low`` and ``high`` are the smallest and largest value, ``bits`` the width on the wire. BIPOLAR
    is the odd one out: its values are -1 and +1, its single bit is 0 for -1.
    """

    name: str
    bits: int
    low: int
    high: int

    @property
    def signed(self) -> bool:
        """Whether the wire holds two's complement."""
        return self.low < 0 and self.name != "BIPOLAR"

    def allows(self, value: int) -> bool:
        """Whether *value* can be represented."""
        return self.low <= value <= self.high and not (self.name == "BIPOLAR" and value == 0)

    def describe_range(self) -> str:
        """The legal values, for messages."""
        return "-1 or +1" if self.name == "BIPOLAR" else "{} to {}".format(self.low, self.high)


_SPECIAL = {
    "BINARY": Datatype("BINARY", 1, 0, 1),
    "BIPOLAR": Datatype("BIPOLAR", 1, -1, 1),
    "TERNARY": Datatype("TERNARY", 2, -1, 1),
}


def parse_datatype(name: str) -> Datatype:
    """The datatype called *name*: BINARY, BIPOLAR, TERNARY, INT2 to INT32 or UINT2 to UINT32.

    Raises:
        DatatypeError: there is no such datatype.

    >>> parse_datatype("INT4")
    Datatype(name='INT4', bits=4, low=-8, high=7)
    """
    if name in _SPECIAL:
        return _SPECIAL[name]
    match = re.match(r"^(U?)INT([1-9][0-9]?)$", name)
    bits = int(match.group(2)) if match else 0
    if match is None or not 2 <= bits <= MAX_BITS:
        raise DatatypeError(
            "no datatype named {!r}".format(name),
            fix="use BINARY, BIPOLAR, TERNARY, INT2 to INT32 or UINT2 to UINT32",
            name=name,
        )
    if match.group(1):
        return Datatype(name, bits, 0, (1 << bits) - 1)
    return Datatype(name, bits, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
