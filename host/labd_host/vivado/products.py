"""What a finished build left, checked before anybody trusts it.

Source: finn-plus 1.6.1, transformation/fpgadataflow/make_zynq_proj.py (names of the files), templates.py
(the clocking wizard clk_wiz_0 that makes the accelerator's clock of a fixed FCLK0 of 100 MHz).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labd_host.explore.build_reports import XML_REPORT
from labd_host.interchange.package_clock import SAME, WIZARD, Clock, wizard_mhz
from labd_host.vivado.reports import TOP, Timing, read_resources, read_timing
from labd_shared.bitfile import check_part, read_bit
from labd_shared.errors import ArtifactError, TimingNotMet
from labd_shared.files import read_bounded
from labd_shared.hwh import MAX_HWH_BYTES, parse_hwh
from labd_shared.tensors import Tensor

BIT = "resizer.bit"
HWH = "resizer.hwh"
TIMING = "finn_zynq_link.runs/impl_1/top_wrapper_timing_summary_routed.rpt"
_AGAIN = "remove {} and give the same command again: only the last step is repeated"


@dataclass(frozen=True)
class RoutedDesign:
    """A routed design, as its files say.

    Attributes:
        bit, hwh: Its files.
        clock: What the board sets, and what the accelerator runs at.
        timing: After routing.
        resources: Of the whole design, shell counted.
        nodes: Instance -> the same of it.
        vivado: The version that wrote the bitfile, "" where its header does not say.
    """

    bit: Path
    hwh: Path
    clock: Clock
    timing: Timing
    resources: dict[str, int]
    nodes: dict[str, dict[str, int]]
    vivado: str


def read_routed(project: Path, *, part: str, clock_mhz: float, tensors: Sequence[Tensor]) -> RoutedDesign:
    """Read and check what Vivado's *project* holds.

    Args:
        project: The folder of FINN's Zynq project.
        part: What it must be for.
        clock_mhz: What the accelerator must run at.
        tensors: Their DMAs must be in the design.

    Raises:
        ArtifactError: a file is missing or damaged, a DMA is missing, or the clock is another one.
        WrongPart: the bitfile is for another device.
    """
    try:
        return _read(project, part, clock_mhz, tensors)
    except ArtifactError as error:
        raise type(error)(error.what, fix=_AGAIN.format(project), **error.facts) from error


def _read(project: Path, part: str, clock_mhz: float, tensors: Sequence[Tensor]) -> RoutedDesign:
    bit = read_bit(project / BIT)
    check_part(bit, part)
    content = read_bounded(project / HWH, MAX_HWH_BYTES, "")
    hwh = parse_hwh(content, str(project / HWH))
    missing = [tensor.dma for tensor in tensors if tensor.dma not in hwh.blocks]
    if missing:
        raise ArtifactError(
            f"{project / HWH} has no {', '.join(missing)}; its blocks are {', '.join(sorted(hwh.blocks)) or 'none'}",
        )
    wizard = wizard_mhz(content)
    clock = Clock(hwh.fclk0_mhz, hwh.fclk0_mhz if wizard is None else wizard)
    if not hwh.fclk0_mhz or abs(clock.accelerator_mhz - clock_mhz) > SAME * clock_mhz:
        source = "FCLK0" if wizard is None else WIZARD
        raise ArtifactError(
            f"the .hwh says {clock.accelerator_mhz:g} MHz ({source}, FCLK0 {hwh.fclk0_mhz:g} MHz), "
            f"asked for were {clock_mhz:g} MHz: this is another build's .hwh, or the clock did not reach the project",
        )
    nodes = read_resources(project / XML_REPORT)
    return RoutedDesign(
        bit=project / BIT,
        hwh=project / HWH,
        clock=clock,
        timing=read_timing(project / TIMING),
        resources=nodes.pop(TOP),
        nodes=nodes,
        vivado=bit.version,
    )


def check_timing(timing: Timing, clock_mhz: int) -> None:
    """Refuse a design that does not keep its timing.

    Raises:
        TimingNotMet: setup, hold or pulse width has negative slack.
    """
    if timing.met:
        return
    facts = {"wns_ns": timing.wns_ns, "whs_ns": timing.whs_ns, "wpws_ns": timing.wpws_ns}
    take_it = "or take it as it is, at the risk of wrong answers: --accept-timing"
    if timing.whs_ns < 0:
        raise TimingNotMet(
            f"hold timing is not met: slack {timing.whs_ns:g} ns, and no slower clock cures that",
            fix=f"another folding gives another placement; {take_it}",
            **facts,
        )
    reached_mhz = int(timing.fastest_mhz(clock_mhz))
    if timing.wns_ns < 0:
        raise TimingNotMet(
            f"timing is not met at {clock_mhz} MHz: worst slack {timing.wns_ns:g} ns, {timing.failing} end points fail",
            fix=f"build for a slower clock: --clock-mhz {reached_mhz} (this placement reaches that); {take_it}",
            **facts,
        )
    raise TimingNotMet(
        f"the clock's pulses are too short at {clock_mhz} MHz: slack {timing.wpws_ns:g} ns",
        fix=f"build for a slower clock: --clock-mhz; {take_it}",
        **facts,
    )
