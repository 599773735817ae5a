"""The report of `labd demo`: accuracy, agreement, speed with where each figure comes from, files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from labd_host.networks.trained import TrainedRecord
from labd_shared.manifest import Manifest


@dataclass(frozen=True)
class RoadStep:
    """One step of the road and how long it took on this machine."""

    name: str
    seconds: float


def report(
    manifest: Manifest,
    validation: dict[str, Any],
    throughput: dict[str, Any],
    steps: list[RoadStep],
    files: dict[str, Path],
    *,
    trained: TrainedRecord,
) -> Group:
    """What came of a demo, to be printed by rich.

    Args:
        manifest: Of the bundle that ran.
        validation, throughput: The board's own reports (`labd_board.validate`, `.throughput`).
        steps: In order.
        files: What lies where.
        trained: How good the export is, in floating point.
    """
    return Group(
        _accuracy(manifest, validation, trained), _speed(throughput, validation), _steps(steps), _files(files)
    )


def _plain(title: str, *columns: str) -> Table:
    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=any(columns),
    )


def _accuracy(manifest: Manifest, validation: dict[str, Any], trained: TrainedRecord) -> Table:
    table = _plain(
        f"\n{manifest.network} on {validation['dataset']}, {validation['split']} split", "", "", ""
    )
    table.add_row(
        "export",
        f"{trained.accuracy_percent:.2f} %",
        f"{trained.correct} of {trained.samples} images, onnxruntime when it was trained",
    )
    low, high = validation["interval95_percent"]
    table.add_row(
        "board",
        f"{validation['accuracy_percent']:.2f} %",
        f"{validation['correct']} of {validation['samples']} images, 95 % interval {low:.2f} to {high:.2f}",
    )
    if manifest.accuracy is not None:
        golden = manifest.accuracy
        table.add_row("golden", f"{golden.top1_percent:.2f} %", f"{golden.samples} images, on the host")
    agreement = validation["agreement"]
    if agreement is not None:
        table.add_row(
            "agreement",
            f"{agreement['same']} same",
            f"{agreement['different']} different, {agreement['unknown']} unknown, image by image",
        )
    return table


def _speed(throughput: dict[str, Any], validation: dict[str, Any]) -> Table:
    table = _plain(
        f"\nSpeed at {throughput['clock_mhz']:g} MHz", "frames/s", "what", "where the figure comes from"
    )
    table.columns[0].justify = "right"
    batch = throughput["batchsize"]
    rows = (
        (throughput["ceiling_frames_per_s"], f"at most, bound by {throughput['bottleneck']}", "cycle model"),
        (
            throughput["expected_frames_per_s"],
            f"accelerator, batch {batch}",
            "cycle model, with fill and DMA bursts",
        ),
        (throughput["accelerator_frames_per_s"], f"accelerator, batch {batch}", throughput["timing"]),
        (throughput["end_to_end_frames_per_s"], f"end to end, batch {batch}", _wall(throughput)),
        (
            validation["samples"] / validation["wall_s"],
            f"validate, batch {validation['batchsize']}",
            _wall(validation),
        ),
    )
    for rate, what, origin in rows:
        table.add_row(f"{rate:,.0f}", what, origin)
    return table


def _wall(measured: dict[str, Any]) -> str:
    return "wall clock of the board" if measured["target"] == "hw" else "emulator's wall clock, no board's"


def _steps(steps: list[RoadStep]) -> Table:
    table = _plain("\nTime on this machine", "s", "step")
    table.columns[0].justify = "right"
    for step in steps:
        table.add_row(f"{step.seconds:.1f}", step.name)
    table.add_row(f"{sum(step.seconds for step in steps):.1f}", "all")
    return table


def _files(files: dict[str, Path]) -> Table:
    table = _plain("\nFiles", "", "")
    for name, path in files.items():
        table.add_row(name, str(path))
    return table
