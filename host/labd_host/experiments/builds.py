"""Finished builds and bundles of a study's foldings: what synthesis reported, and what a board can run.

A build is that of an experiment where every layer has the experiment's PE, SIMD and windows; how the memories
were made is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labd_host.dataflow.folding import Folding
from labd_host.dataflow.parts import Part
from labd_host.dataflow.resources import Resources
from labd_host.experiments.study_model import Experiment
from labd_host.explore.build_reports import REPORT, TOP, XML_REPORT, BuildReport, read_build
from labd_host.judge.chains import named_chain
from labd_shared.bundle import BundleFiles, open_bundle
from labd_shared.errors import IllegalFolding, UnknownName, UsageError
from labd_shared.manifest import MANIFEST_NAME
from labd_shared.records import Origin, read_json

MAX_REPORT_BYTES = 1 << 20
MAX_FOLDERS = 1000  # in one that holds builds


@dataclass(frozen=True)
class Builds:
    """What was built.

    Attributes:
        reports: Of output folders of builds.
        bundles: For boards.
    """

    reports: tuple[BuildReport, ...] = ()
    bundles: tuple[BundleFiles, ...] = ()

    def cells(self, experiment: Experiment) -> Resources | None:
        """What synthesis reported of this folding's whole design; None where nobody built it."""
        for report in self.reports:
            if TOP in report.cells and _is_folded_so(experiment, report.config.folding):
                return report.cells[TOP]
        bundle = self.bundle(experiment, "hw")
        return None if bundle is None else _reported(bundle)

    def bundle(self, experiment: Experiment, target: str) -> BundleFiles | None:
        """The bundle of this folding for *target* ("emu", "hw") at the experiment's clock, None where there is none."""
        for bundle in self.bundles:
            manifest = bundle.manifest
            same = (manifest.network, manifest.target) == (named_chain(experiment.network).name, target)
            near = abs(manifest.clock_mhz - experiment.clock_mhz) < 0.5  # what the clock's dividers reach
            if same and near and _is_folded_so(experiment, Folding("", manifest.folding, {})):
                return bundle
        return None


def _reported(bundle: BundleFiles) -> Resources | None:
    """The cells in the report of labd's own build; None where the bundle has none."""
    from labd_host.vivado.hardware_build import REPORT_NAME

    if REPORT_NAME not in bundle.manifest.files:
        return None
    path = bundle.path(REPORT_NAME)
    fix = f"build it again: labd build {bundle.manifest.network} --target hw -o DIR"
    report = read_json(path, MAX_REPORT_BYTES, Origin(str(path), fix))
    resources = report.fields(("resources",), None)["resources"].fields(("built",), None)
    used = resources["built"].fields(tuple(_CELLS.values()), None)
    return Resources(**{name: used[key].integer(0) for name, key in _CELLS.items()})


_CELLS = {"lut": "LUT", "ff": "FF", "bram18": "BRAM18", "dsp": "DSP"}


def read_builds(folders: Sequence[Path], part: Part) -> Builds:
    """The builds and bundles in *folders*: each is one, or holds some.

    Raises:
        UsageError: a folder holds none.
        ArtifactError: a report or a bundle is damaged.
        WrongPart: a build is for another part.
    """
    reports, bundles = [], []
    for folder in folders:
        found = list(_found(folder))
        if not found:
            raise UsageError(
                f"{folder} holds neither FINN's reports of a build nor a bundle",
                fix="give the output folder of a build (post_synth_resources.json), a bundle, or a folder of such",
            )
        for place in found:
            if (place / MANIFEST_NAME).is_file():
                bundles.append(open_bundle(place))
            else:
                reports.append(read_build(place, part))
    return Builds(tuple(reports), tuple(bundles))


def _found(folder: Path) -> Iterator[Path]:
    if _is_build(folder):
        yield folder
    elif folder.is_dir():
        yield from filter(_is_build, sorted(folder.iterdir())[:MAX_FOLDERS])


def _is_build(folder: Path) -> bool:
    reports = (place / name for place in (folder, folder / "report") for name in (REPORT, XML_REPORT))
    return (folder / MANIFEST_NAME).is_file() or any(report.is_file() for report in reports)


def _is_folded_so(experiment: Experiment, folding: Folding) -> bool:
    design = named_chain(experiment.network)
    try:
        built = design.folded(folding)
    except (UnknownName, IllegalFolding, UsageError):
        return False  # of another network
    return built.layers == design.folded(Folding("", experiment.settings, {})).layers
