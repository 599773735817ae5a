"""RTL simulations that FINN ran of finished builds: what the simulator's constants are fitted to.

A build's folder holds final_hw_config.json and rtlsim_performance.json, both as FINN writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.programs import HLS, Pipelines
from labd_host.simulate.hardware_config import CONFIG_FILE, HardwareConfig, read_hardware_config
from labd_host.simulate.simulator import simulate
from labd_shared.errors import ArtifactError
from labd_shared.records import Origin, Value, read_json

REPORTS = "rtlsim_performance*.json"
MAX_REPORT_BYTES = 1 << 20
DEEPEST = 12  # no HLS pipeline of FINN's is deeper at 100 MHz
ENOUGH_FRAMES = 20  # the interval is steady by then


@dataclass(frozen=True)
class RtlRun:
    """A build that was simulated as RTL.

    Attributes:
        name: Of its folder.
        design: The network it was built from, in any folding.
        config: Its nodes and FIFOs.
        latency_cycles: From the first word in to the last word of the first frame out.
        interval_cycles: Between frames; None where one frame was simulated.
    """

    name: str
    design: FoldedChain
    config: HardwareConfig
    latency_cycles: int
    interval_cycles: int | None

    def latency_error(self, pipelines: Pipelines = HLS) -> int:
        """Cycles by which our simulator's latency is too long."""
        machine = self.config.machine(self.design, dma=False, pipelines=pipelines)
        return simulate(machine).latency_cycles - self.latency_cycles

    def interval_error(self, pipelines: Pipelines = HLS) -> float | None:
        """Cycles by which our simulator's interval is too long; None where none was measured."""
        if self.interval_cycles is None:
            return None
        machine = self.config.machine(self.design, dma=False, pipelines=pipelines)
        return simulate(machine, ENOUGH_FRAMES).interval_cycles - self.interval_cycles


def read_measured(folder: Path, design: FoldedChain) -> RtlRun:
    """The build in *folder*, made from *design*'s network.

    Raises:
        ArtifactError: a file is missing or not what FINN writes.
    """
    reports = [_report(path) for path in sorted(folder.glob(REPORTS))]
    if not reports:
        raise ArtifactError(
            f"{folder} has no rtlsim_performance.json",
            fix="let FINN simulate the build: step rtlsim_performance",
        )
    intervals = [_cycles(report, "interval_cycles") for report in reports if _cycles(report, "N") > 1]
    return RtlRun(
        name=folder.name,
        design=design,
        config=read_hardware_config(folder / CONFIG_FILE),
        latency_cycles=_latency(reports[0]),
        interval_cycles=intervals[0] if intervals else None,
    )


def _report(path: Path) -> Value:
    return read_json(path, MAX_REPORT_BYTES, Origin(str(path), "give the file as FINN wrote it"))


def _latency(report: Value) -> int:
    """The first cycle is 0. FINNs before intervals were reported wrote the number of cycles instead."""
    latency = _cycles(report, "latency_cycles")
    return latency if "interval_cycles" in report.entries() else latency - 1


def _cycles(report: Value, key: str) -> int:
    return report.fields((key,), None)[key].integer(1)


def fit(builds: Sequence[RtlRun]) -> Pipelines:
    """The depths of the HLS pipelines that explain *builds* best: the least largest error, then the least sum.

    Depths that no build tells apart are those of `HLS`, or the nearest.
    """

    def misfit(pipelines: Pipelines) -> tuple[int, int, int]:
        errors = [abs(build.latency_error(pipelines)) for build in builds]
        change = abs(pipelines.mvau - HLS.mvau) + abs(pipelines.label - HLS.label)
        return max(errors), sum(errors), change

    depths = range(1, DEEPEST + 1)
    return min((Pipelines(mvau, label) for mvau, label in product(depths, depths)), key=misfit)
