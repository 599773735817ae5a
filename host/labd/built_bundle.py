"""A bundle: the folder that a board runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from labd.accuracy_score import Score
from labd.cycle_table import CycleTable
from labd.shown import Shown
from labd_host.machine.listener import SILENT
from labd_shared.bundle import BundleFiles, open_bundle

if TYPE_CHECKING:
    from labd_shared.manifest import Manifest


class Bundle(Shown):
    """A bundle on this machine, every file of it verified.

    Attributes:
        folder: Where its files lie.
    """

    def __init__(self, files: BundleFiles, path: Path | None = None) -> None:
        self._files = files
        self.folder = files.folder
        self.path = path or files.folder

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._files.manifest

    def summary(self) -> str:
        return bundle_line(self.manifest)

    @property
    def record(self) -> dict[str, Any]:
        manifest = self.manifest
        return {
            "network": manifest.network,
            "dataset": manifest.dataset,
            "target": manifest.target,
            "clock_mhz": manifest.clock_mhz,
            "path": str(self.path),
            "summary": self.summary(),
        }

    def zip(self, path: str | Path | None = None) -> Path:
        """Write the bundle as one .zip, the same bytes for the same bundle; its path.

        Args:
            path: Where; beside the folder, NAME.zip, when None.
        """
        from labd_host.bundles.bundle_writer import zip_bundle

        target = Path(path) if path is not None else self.folder.with_name(self.folder.name + ".zip")
        zip_bundle(self._files, target)
        return target

    def estimate(self) -> CycleTable:
        """Cycles of each layer by the cycle model, at the bundle's clock.

        Raises:
            UsageError: the bundle carries no network.
        """
        from labd_host.dataflow.folded_chain import read_design

        return CycleTable(read_design(self.folder), self.manifest.clock_mhz)

    def validate(self, *, dataset: str | None = None, limit: int | None = None) -> Score:
        """What a board would score: the golden model on the test split, bit by bit.

        Args:
            dataset: Another data set than the bundle's own.
            limit: Only the first images.

        Raises:
            ArtifactError: the bundle carries no network.
            DataMissing: the data set is not available.
        """
        from labd_host.judge.classifiers import golden
        from labd_host.judge.scoring import scored

        found = scored(golden(str(self.folder), SILENT), dataset, limit)
        return Score(found.report, "golden model", found.predictions)


def load_bundle(path: str | Path) -> Bundle:
    """The bundle in *path*, a folder or a .zip, every file of it verified.

    Raises:
        ArtifactError: it is not a bundle, or a file is missing or not the one that was packed.
    """
    return Bundle(open_bundle(path), Path(path))


def bundle_line(manifest: Manifest) -> str:
    """What a bundle is, in a line."""
    accuracy, expected = manifest.accuracy, manifest.expected
    measured = (
        f"{accuracy.top1_percent:.2f} % on {accuracy.samples} {accuracy.split} images of {manifest.dataset} "
        f"({accuracy.measured_by})"
        if accuracy
        else "accuracy not measured"
    )
    speed = (
        f"{expected.cycles_per_frame} cycles a frame, {expected.frames_per_s:,.0f} frames/s "
        f"at {manifest.clock_mhz:g} MHz (cycle model, bound by {expected.bottleneck})"
        if expected.known
        else f"{expected.cycles_per_frame} cycles a frame or more, {manifest.clock_mhz:g} MHz (network unknown)"
    )
    slack = f", {slack_words(manifest.slack_ns)}" if manifest.slack_ns is not None else ""
    return f"{manifest.network}: {measured}; {speed}; target {manifest.target}{slack}"


def slack_words(slack_ns: float) -> str:
    """A slack in words."""
    return f"slack {slack_ns:g} ns" if slack_ns >= 0 else f"TIMING NOT MET, slack {slack_ns:g} ns"
