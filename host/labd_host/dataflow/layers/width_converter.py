"""What FINN puts between two neighbours whose words differ (its StreamingDataWidthConverter).

It is not a layer of a network: it stands where a folding makes two neighbours' words differ.

Source: finn-plus 1.6.1, transformation/fpgadataflow/insert_dwc.py; irdy and ovld of finn-rtllib,
dwc/hdl/vpc.sv, whose comment promises the rate of the narrower side; run with Verilator it gives the
numbers below. finn-plus 1.4.0, transformation/fpgadataflow/specialize_layers.py (which ones are HLS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from labd_host.dataflow.programs import Gear
from labd_host.dataflow.resources import CostUnit, Resources


@dataclass(frozen=True)
class WidthConverter:
    """A converter between words.

    Attributes:
        takes, gives: Values in a word in and in a word out, or bits.
    """

    op: ClassVar[str] = "StreamingDataWidthConverter"
    finn_names: ClassVar[tuple[str, ...]] = (
        "StreamingDataWidthConverter",
        "StreamingDataWidthConverter_Batch",
    )
    role: ClassVar[str] = "move"
    phrase: ClassVar[str] = "the width converter"

    takes: int
    gives: int

    @staticmethod
    def name(number: int) -> str:
        """FINN's node name of the converter of that number in the stream, from 0 on."""
        return f"{WidthConverter.op}_rtl_{number}"

    def cycles(self, values: int) -> int:
        """Cycles in which it passes *values* (or bits) on, where neither neighbour lets it wait.

        FINN's converter takes a word only while it holds no more than one word that it gives. So between
        widths of which neither is a multiple of the other it is slower than both its neighbours: 16 to 12
        values take 6 cycles for 3 words in and 4 out. It reads and writes in the same cycle once in each
        such round.
        """
        common = math.gcd(self.takes, self.gives)
        takes, gives, values = self.takes // common, self.gives // common, values // common
        return -(-values * (takes + gives - 1) // (takes * gives))

    def program(self) -> Gear:
        """Its step program."""
        common = math.gcd(self.takes, self.gives)
        return Gear(self.takes // common, self.gives // common)

    @property
    def divides(self) -> bool:
        """Whether one word is a whole number of the other's."""
        return max(self.takes, self.gives) % min(self.takes, self.gives) == 0

    def cost_unit(self, name: str) -> CostUnit:
        """Its cost, the widths in bits; where neither divides the other it goes through their least common multiple.

        FINN and finn-plus up to 1.4.0 make those in HLS; they are a kind of their own.
        """
        if self.divides:
            widest = max(self.takes, self.gives)
            return CostUnit(name, "converter", {"one": 1, "bits": widest}, Resources())
        through = {"through": math.lcm(self.takes, self.gives)}
        return CostUnit(name, "hls converter", through, Resources())
