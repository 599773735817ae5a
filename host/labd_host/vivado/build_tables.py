"""What a hardware build took: its resources and its timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from rich.table import Table

from labd_host.dataflow.parts import part_of
from labd_host.vivado.build_estimate import CellEstimate
from labd_host.vivado.reports import Timing
from labd_shared.bitfile import PYNQ_Z2_PART


def resources_table(estimate: CellEstimate, built: Mapping[str, int]) -> Table:
    """What the design takes beside what was expected and what the part has."""
    part = asdict(part_of(PYNQ_Z2_PART).holds)
    expected, finn = asdict(estimate.calibrated), asdict(estimate.finn)
    table = Table(
        "", "built", "of the part", "part", "expected", "FINN", box=None, pad_edge=False,
        caption="built and expected count the shell, FINN's estimate the layers alone", caption_justify="left",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for name in ("LUT", "FF", "BRAM18", "DSP"):
        number, available = built.get(name), part[name.lower()]
        table.add_row(
            name,
            "-" if number is None else f"{number:,}",
            "-" if number is None else f"{100 * number / available:.1f} %",
            f"{available:,}",
            f"{expected[name.lower()]:,.0f}",
            "-" if name == "FF" else f"{finn[name.lower()]:,.0f}",  # FINN does not estimate them
        )
    return table


def timing_line(timing: Timing, clock_mhz: float) -> str:
    """Whether the timing is met, with the slack."""
    met = "met" if timing.met else "NOT MET"
    return (
        f"timing at {clock_mhz:g} MHz: {met}, worst slack {timing.wns_ns:g} ns (setup), {timing.whs_ns:g} ns (hold); "
        f"this placement reaches {timing.fastest_mhz(clock_mhz):.0f} MHz"
    )
