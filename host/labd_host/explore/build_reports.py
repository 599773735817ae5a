"""Units of finished builds and what Vivado's synthesis made of them.

FINN leaves `post_synth_resources.json` (the cells of every node; from the XML report that Vivado wrote,
which is read, too) and `final_hw_config.json` (folding and FIFOs, in the order of the stream) in the
output folder of a build; a `.hwh` anywhere below says which part it was for.

Source: finn-plus 1.6.1, builder/build_dataflow_steps.py, analysis/fpgadataflow/post_synth_res.py (the
columns of Vivado's report).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.layers import WidthConverter
from labd_host.dataflow.parts import Part
from labd_host.dataflow.resources import CostUnit, Resources
from labd_host.explore.calibration import Sample
from labd_host.explore.cost_units import fifo, input_dma, output_dma, shell
from labd_host.simulate.hardware_config import CONFIG_FILE, FIFO_KIND, HardwareConfig, read_hardware_config
from labd_shared.errors import ArtifactError, WrongPart
from labd_shared.files import read_bounded
from labd_shared.hwh import read_hwh
from labd_shared.records import Origin, parse_json

REPORT, XML_REPORT = "post_synth_resources.json", "synth_report.xml"
MAX_REPORT_BYTES = 32 << 20
TOP = "(top)"
_GIVE = f"give a folder with FINN's {REPORT} and {CONFIG_FILE}"
_COLUMNS = {"Total LUTs": "LUT", "FFs": "FF", "RAMB36": "BRAM_36K", "RAMB18": "BRAM_18K", "DSP Blocks": "DSP"}
_PREFIX = re.compile(r"^StreamingDataflowPartition_(\d+)_")


@dataclass(frozen=True)
class BuildReport:
    """One build.

    Attributes:
        name: Of its folder.
        digest: Of the report, to know it again.
        cells: Node name, without its partition -> cells; "(top)": of everything.
        config: Its nodes, in the order of the stream.
    """

    name: str
    digest: str
    cells: Mapping[str, Resources]
    config: HardwareConfig

    def samples(self, network: FoldedChain) -> Iterator[Sample]:
        """The units that both the report and *network* know.

        Raises:
            UnknownName, IllegalFolding: it is the build of another network.
        """
        for unit in self._units(network):
            measured = self._shell() if unit.kind == "shell" else self.cells.get(unit.name)
            if measured is not None:
                yield Sample(unit.kind, unit.drivers, unit.exact, measured)

    def design(self, network: FoldedChain) -> FoldedChain:
        """*network*, folded as this build was."""
        return self.config.design(network)

    def _units(self, network: FoldedChain) -> Iterator[CostUnit]:
        design = self.design(network)
        layers = {layer.name: layer for layer in design.layers}
        ahead = [layers[name].entry_bits for name in self.config.nodes if name in layers]
        bits = ahead[0]
        yield shell()
        depths = self.config.depths
        for name in self.config.nodes:
            if name in layers:
                yield layers[name].cost_unit(design.settings[name])
                ahead.pop(0)
                bits = layers[name].exit_bits
            elif name.startswith(FIFO_KIND):
                yield fifo(name, bits, depths[name])
            elif name.startswith(WidthConverter.op) and ahead:
                yield WidthConverter(bits, ahead[0]).cost_unit(name)
                bits = ahead[0]
        first, last = input_dma(design.layers[0].entry_bits), output_dma()
        yield CostUnit("IODMA in", first.kind, first.drivers, first.exact)
        yield CostUnit("IODMA out", last.kind, last.drivers, last.exact)

    def _shell(self) -> Resources | None:
        """What is left of the whole; None where the report is not of a whole design."""
        if TOP not in self.cells:
            return None
        rest = [cells for name, cells in self.cells.items() if name != TOP]
        top = self.cells[TOP]
        left = (top.lut - sum(cells.lut for cells in rest), top.ff - sum(cells.ff for cells in rest))
        return Resources(*left) if min(left) > 0 else None


def read_build(path: Path, part: Part) -> BuildReport:
    """The report in the output folder *path* of a build, or the report *path* in such a folder.

    Raises:
        ArtifactError: there is no report or configuration, or it is damaged.
        WrongPart: it is the build for another part.
    """
    folder = path if path.is_dir() else path.parent
    report = path if path.is_file() else _found(folder, REPORT, XML_REPORT)
    config = _found(folder, CONFIG_FILE)
    _check_handoff(folder, part)
    content = read_bounded(report, MAX_REPORT_BYTES, _GIVE)
    cells = _from_xml(content, report, part) if report.suffix == ".xml" else _from_json(content, report)
    top = cells.get(TOP, Resources())
    for cell in ("lut", "ff", "bram18", "dsp", "uram"):
        used, there = getattr(top, cell), getattr(part.holds, cell)
        if used > there:
            raise WrongPart(
                f"{report} uses {used:,.0f} {cell.upper()}, the {part.name} has {there:,.0f}: it is of another part",
                fix="name the part: labd calibrate --part NAME",
            )
    return BuildReport(folder.name, hashlib.sha256(content).hexdigest(), cells, read_hardware_config(config))


def _found(folder: Path, *names: str) -> Path:
    for name in names:
        for place in (folder, folder / "report"):
            if (place / name).is_file():
                return place / name
    raise ArtifactError(f"there is no {' and no '.join(names)} in {folder}", fix=_GIVE)


def _check_handoff(folder: Path, part: Part) -> None:
    for handoff in sorted(folder.glob("**/*.hwh"))[:1]:
        if not (built := read_hwh(handoff).part).startswith(part.name):
            raise WrongPart(
                f"{handoff} is of the part {built}, wanted is {part.name}",
                fix="name the part: labd calibrate --part NAME",
            )


def _from_json(content: bytes, report: Path) -> dict[str, Resources]:
    record = parse_json(content, MAX_REPORT_BYTES, Origin(str(report), _GIVE))
    used = {name: entry.entries() for name, entry in record.entries().items() if entry.raw}
    counts = {
        name: {key: value.number(0) for key, value in entry.items() if key in _COUNTED}
        for name, entry in used.items()
    }
    try:
        return _named((name, _cells(entry)) for name, entry in counts.items())
    except ValueError as error:
        raise ArtifactError(f"{report}: {error}", fix=_GIVE) from error


_COUNTED = ("LUT", "FF", "BRAM_36K", "BRAM_18K", "DSP", "URAM")


def _cells(entry: Mapping[str, Any]) -> Resources:
    counts = {key: int(entry.get(key, 0)) for key in _COUNTED}
    if min(counts.values()) < 0:
        raise ValueError(f"{min(counts, key=lambda key: counts[key])} is negative")
    blocks = 2 * counts["BRAM_36K"] + counts["BRAM_18K"]
    return Resources(counts["LUT"], counts["FF"], blocks, counts["DSP"], counts["URAM"])


def _named(entries: Any) -> dict[str, Resources]:
    """Names without the partition; the first partition's DMA is the input's, the last's the output's."""
    found, dmas = {}, []
    for name, cells in entries:
        plain = _PREFIX.sub("", name)
        if plain.startswith("IODMA"):
            dmas.append((name, cells))
        elif plain in found:
            raise ValueError(f"{plain} is there twice")
        else:
            found[plain] = cells
    if len(dmas) == 2:
        dmas.sort(key=lambda entry: entry[0])
        found["IODMA in"], found["IODMA out"] = dmas[0][1], dmas[1][1]
    else:
        found |= dict(dmas)
    return found


def _from_xml(content: bytes, report: Path, part: Part) -> dict[str, Resources]:
    """Vivado's hierarchical report: a table with a row for every instance, indented by its level."""
    if b"\0" in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ArtifactError(f"{report} declares a document type or entities, or is no UTF-8", fix=_GIVE)
    if (named := re.search(rb"\bxc[a-z]*[0-9][a-z0-9]+", content)) and not named[0].decode().startswith(
        part.name
    ):
        raise WrongPart(
            f"{report} is of the part {named[0].decode()}, wanted is {part.name}",
            fix="name the part: labd calibrate --part NAME",
        )
    try:
        rows = [
            [cell.get("contents", "").strip() for cell in row.iter("tablecell")]
            for row in ElementTree.fromstring(content).iter("tablerow")
        ]
        heads = [
            cell.get("contents", "").strip() for cell in ElementTree.fromstring(content).iter("tableheader")
        ]
        columns = {_COLUMNS[head]: heads.index(head) for head in heads if head in _COLUMNS}
        if missing := set(_COLUMNS.values()) - set(columns):
            raise ValueError(f"it has no column for {', '.join(sorted(missing))}")
        table = {row[0]: row for row in rows if len(row) == len(heads)}
        entries = [
            (name, _cells({key: row[at] for key, at in columns.items()})) for name, row in table.items()
        ]
        kept = [(name, cells) for name, cells in entries if _PREFIX.match(name)]
        return _named([(TOP, entries[0][1]), *kept])
    except (ElementTree.ParseError, ValueError, IndexError) as error:
        raise ArtifactError(f"{report} is no report of Vivado's: {error}", fix=_GIVE) from error
