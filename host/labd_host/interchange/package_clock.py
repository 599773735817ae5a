"""The clock of an imported design: what its .hwh says beside what its driver says.

labd's driver sets the processing system's FCLK0 and nothing else, so this is the clock a bundle has.
Where finn-plus put a clocking wizard behind it, the accelerator runs from that, and its cycles are
counted in FCLK0's.

Source: finn-plus-driver 1.6.1 hwh.py and overlays/dma.py (clk_wiz_0); Xilinx/finn driver_base.py
(fclk_mhz, 100.0 by default).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from labd_host.interchange.findings import Findings
from labd_shared.errors import ArtifactError, UsageError
from labd_shared.hwh import Hwh
from labd_shared.manifest import Expected
from labd_shared.rates import frames_per_s

WIZARD = "clk_wiz_0"
DRIVER_DEFAULT_MHZ = 100.0
SAME = 0.01
ROUNDING = 1e-4  # Vivado writes 99.999 MHz of a wizard that passes FCLK0's 100 on


@dataclass(frozen=True)
class Clock:
    """What drives the accelerator.

    Attributes:
        fclk0_mhz: What the board sets.
        accelerator_mhz: What the accelerator runs at; differs behind a clocking wizard.
    """

    fclk0_mhz: float
    accelerator_mhz: float

    def fclk0_cycles(self, cycles: int) -> int:
        """*cycles* of the accelerator in those of FCLK0, rounded up."""
        if math.isclose(self.fclk0_mhz, self.accelerator_mhz, rel_tol=ROUNDING):
            return max(1, cycles)
        return max(1, math.ceil(cycles * self.fclk0_mhz / self.accelerator_mhz))

    def in_fclk0(self, expected: Expected) -> Expected:
        """*expected*, in the accelerator's cycles, as cycles of FCLK0."""
        cycles = self.fclk0_cycles(expected.cycles_per_frame)
        return Expected(
            cycles,
            self.fclk0_cycles(expected.latency_cycles),
            frames_per_s(self.fclk0_mhz, cycles),
            expected.bottleneck,
        )


def wizard_mhz(content: bytes) -> float | None:
    """The output clock of a clocking wizard in a .hwh that was checked before, None where there is none.

    Raises:
        ArtifactError: there is one, and its output clock is no number.
    """
    for module in ElementTree.fromstring(content).iter("MODULE"):
        if module.get("INSTANCE") == WIZARD:
            said = {each.get("NAME"): each.get("VALUE") for each in module.iter("PARAMETER")}
            value = said.get("CLKOUT1_OUT_FREQ") or said.get("CLKOUT1_REQUESTED_OUT_FREQ")
            try:
                mhz = float(value or "")
            except ValueError:
                mhz = 0.0
            if not 1.0 <= mhz <= 1000.0:
                raise ArtifactError(
                    f"the .hwh has a {WIZARD} whose output clock is {value!r}, no number of MHz",
                    fix="copy the .hwh that was built together with the bitfile",
                )
            return mhz
    return None


def accelerator_clock(
    hwh: Hwh, wizard: float | None, driver_mhz: float | None, given_mhz: float | None, findings: Findings
) -> Clock:
    """The clock to record.

    Args:
        hwh: Its FCLK0 is what timing was met for.
        wizard: `wizard_mhz`.
        driver_mhz: What the driver or the settings say, None where they leave it.
        given_mhz: What the user says, None to take the .hwh's.
        findings: Told where these differ.

    Raises:
        ArtifactError: the .hwh has FCLK0 off and nobody gave a clock.
        UsageError: *given_mhz* is above what the design was built for.
    """
    built = hwh.fclk0_mhz
    if not built and given_mhz is None:
        raise ArtifactError("the .hwh has FCLK0 off: the clock is unknown", fix="say it: --clock-mhz MHZ")
    if given_mhz is not None and built and given_mhz > built * (1 + SAME):
        raise UsageError(
            f"--clock-mhz {given_mhz:g} is above the {built:g} MHz of the .hwh, for which timing was met",
            fix=f"--clock-mhz {built:g} or less",
        )
    fclk0 = built if given_mhz is None else given_mhz
    if given_mhz is not None:
        findings.assumed("clock", f"{given_mhz:g} MHz, as given; the .hwh says {built:g} MHz")
    if wizard is not None:
        findings.doubt(
            "clock",
            f"{WIZARD} makes {wizard:g} MHz of FCLK0's {built:g}; labd sets FCLK0 and counts cycles of FCLK0",
        )
        return Clock(fclk0, wizard * (fclk0 / built if built else 1.0))
    if given_mhz is None:
        _compare(built, driver_mhz, findings)
    return Clock(fclk0, fclk0)


def _compare(built: float, driver_mhz: float | None, findings: Findings) -> None:
    said = DRIVER_DEFAULT_MHZ if driver_mhz is None else driver_mhz
    source = "FINN's driver would set its default of" if driver_mhz is None else "the driver says"
    if abs(said - built) <= built * SAME:
        findings.checked("clock", f"{built:g} MHz in the .hwh, {source} {said:g}")
    else:
        risk = "too fast" if said > built else "slower than built"
        findings.doubt("clock", f"{built:g} MHz in the .hwh is taken; {source} {said:g} MHz, {risk}")
