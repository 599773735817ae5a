"""Vivado's reports after routing: is the timing met, and what does the design take.

Source: report_timing_summary and report_utilization -hierarchical of Vivado 2020.1 to 2023.2; the same
table of the latter is read by finn-plus 1.6.1, analysis/fpgadataflow/post_synth_res.py.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from labd_shared.errors import ArtifactError
from labd_shared.files import read_bounded

MAX_REPORT_BYTES = 64 << 20
TOP = "(top)"  # the module of the row that counts everything
_AGAIN = "build it again; the log beside it says what Vivado made of it"
# Heading of a column -> what it counts. Vivado calls DSPs by their family until 2019 or so.
_COLUMNS = {
    "Total LUTs": "LUT",
    "LUTRAMs": "LUTRAM",
    "SRLs": "SRL",
    "FFs": "FF",
    "RAMB36": "BRAM36",
    "RAMB18": "BRAM18",
    "DSP Blocks": "DSP",
    "DSP48 Blocks": "DSP",
}


@dataclass(frozen=True)
class Timing:
    """The worst slacks of the routed design, ns; negative ones are not met.

    Attributes:
        wns_ns: Setup: what limits the clock.
        whs_ns: Hold: no clock is slow enough where this is negative.
        wpws_ns: Pulse width.
        failing: End points whose setup is not met.
    """

    wns_ns: float
    whs_ns: float
    wpws_ns: float
    failing: int

    @property
    def met(self) -> bool:
        """Whether the design keeps its timing."""
        return min(self.wns_ns, self.whs_ns, self.wpws_ns) >= 0

    @property
    def slack_ns(self) -> float:
        """The setup slack, or the worst of all where another is negative."""
        worst = min(self.whs_ns, self.wpws_ns)
        return self.wns_ns if worst >= 0 else min(self.wns_ns, worst)

    def fastest_mhz(self, clock_mhz: float) -> float:
        """The clock that the setup slack allows a design that was built for *clock_mhz*."""
        return 1000.0 / (1000.0 / clock_mhz - self.wns_ns)


def read_timing(path: Path) -> Timing:
    """The design timing summary of a timing report.

    Raises:
        ArtifactError: no such file, or it has no such summary, or no path was timed.
    """
    lines = read_bounded(path, MAX_REPORT_BYTES, _AGAIN).decode("utf-8", "replace").splitlines()
    for index, line in enumerate(lines):
        names = re.findall(r"[A-Z]+\(ns\)|[A-Z]+ (?:Failing|Total) Endpoints", line)
        if names[:2] == ["WNS(ns)", "TNS(ns)"]:
            values = next((row.split() for row in lines[index + 1 :] if re.match(r"\s*(-?\d|NA)", row)), [])
            said = dict(zip(names, values, strict=False))
            try:
                return Timing(
                    float(said["WNS(ns)"]),
                    float(said["WHS(ns)"]),
                    float(said["WPWS(ns)"]),
                    int(said["TNS Failing Endpoints"]),
                )
            except (KeyError, ValueError) as error:
                raise ArtifactError(
                    f"the timing summary of {path} holds {' '.join(values)[:80]!r}: no path was timed",
                    fix=_AGAIN,
                ) from error
    raise ArtifactError(f"{path} has no design timing summary", fix=_AGAIN)


def read_resources(path: Path) -> dict[str, dict[str, int]]:
    """What each instance takes: name -> {"LUT": ..., "FF": ..., "BRAM18": ..., "DSP": ...}.

    A RAMB36 counts as two BRAM18. The whole design stands under `TOP`.

    Raises:
        ArtifactError: no such file, or no report of that form.
    """
    content = read_bounded(path, MAX_REPORT_BYTES, _AGAIN)
    if b"\0" in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ArtifactError(f"{path} declares a document type or entities, or is no UTF-8", fix=_AGAIN)
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ArtifactError(f"{path} is not XML: {error}", fix=_AGAIN) from error
    columns: dict[int, str] = {}
    found: dict[str, dict[str, int]] = {}
    for row in root.iter("tablerow"):
        cells = [cell.get("contents", "").strip() for cell in row]
        if cells[:2] == ["Instance", "Module"]:
            columns = {index: _COLUMNS[name] for index, name in enumerate(cells) if name in _COLUMNS}
        elif columns and len(cells) > max(columns):
            name = TOP if TOP in cells[:2] else cells[0]
            try:
                counted = {kind: int(cells[index]) for index, kind in columns.items()}
            except ValueError as error:
                raise ArtifactError(
                    f"{path}: the row of {name!r:.60} holds no numbers", fix=_AGAIN
                ) from error
            counted["BRAM18"] = counted.get("BRAM18", 0) + 2 * counted.pop("BRAM36", 0)
            found.setdefault(name, counted)
    if TOP not in found:
        raise ArtifactError(f"{path} has no row of the whole design", fix=_AGAIN)
    return found
