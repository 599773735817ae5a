"""How a hardware build stands while it runs, and what it took when it is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labd_host.dataflow.parts import part_of
from labd_host.machine.listener import Listener
from labd_host.vivado.build_estimate import CellEstimate
from labd_host.vivado.followed_build import Look, Tell
from labd_host.vivado.job import STEPS, BuildUnit
from labd_host.vivado.reports import Timing
from labd_shared.bitfile import PYNQ_Z2_PART

QUIET_S = 60.0  # between two lines about the same unit where there is no terminal to redraw


class Standing(Listener):
    """One line that is redrawn on a terminal; a line now and then where there is none.

    Use as a context manager: the line is taken away at the end.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._shown = 0.0
        self._step = ""
        self.tell = Tell(begun=self._begun, ended=self._ended, look=self._look)

    def __enter__(self) -> Standing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(Text(line), soft_wrap=True)

    def _begun(self, unit: BuildUnit, expected_s: float | None) -> None:
        if unit.step != self._step:
            self._step = unit.step
            self.say(f"{unit.step}: {STEPS.get(unit.step, '')}")
        expected = f", {duration(expected_s)} the last time" if expected_s and expected_s >= 1 else ""
        self.say(f"  {_place(unit)} begun{expected}; logs in {Path(unit.folder).name}")
        self._shown = time.monotonic()

    def _ended(self, unit: BuildUnit, seconds: float) -> None:
        self.say(f"  {_place(unit)} " + (f"done in {duration(seconds)}" if seconds else "was done before"))

    def _look(self, look: Look) -> None:
        expected = f" of about {duration(look.expected_s)}" if look.expected_s else ""
        line = f"{_place(look.unit)}: {duration(look.unit_s)}{expected}, in all {duration(look.elapsed_s)}  {look.line}"
        if self._status is not None:
            self._status.update(Text(line[: max(20, self._console.width - 4)]))
            self._status.start()
        elif time.monotonic() - self._shown >= QUIET_S:
            self._shown = time.monotonic()
            self.say(f"  {line}")


def _place(unit: BuildUnit) -> str:
    """ "hls MVAU_hls_2, 3 of 7"."""
    return unit.label + (f", {unit.number} of {unit.of}" if unit.of > 1 else "")


def duration(seconds: float) -> str:
    """ "42 s", "3 min 05 s", "1 h 02 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


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
