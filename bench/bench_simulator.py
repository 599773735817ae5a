"""The simulator: time for a frame of CNV and of TFC and for sizing TFC's FIFOs; its error against RTL simulations.

The errors need reports of real builds (LABD_MEASURED). The depths of the HLS pipelines are fitted to three
of the five builds and predict the other two, for each choice of three; the worst is the figure.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

from measure import figure

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import load_folding
from labd_host.networks import NETWORKS
from labd_host.simulate.fifos import size_fifos
from labd_host.simulate.pipeline import Machine, assemble
from labd_host.simulate.rtl_reports import RtlRun, fit, read_measured
from labd_host.simulate.simulator import simulate

REPEATS = 5
SHOWN = ("tfc_w1a1_pynqz2_auto", "tfc_w1a1_pynqz2_custom_0", "tfc_w1a1_pynqz2_custom_4")


def machine(name: str) -> Machine:
    return assemble(design_of(NETWORKS[name]).folded(load_folding("lab", name)))


def median_s(work: Callable[[], object]) -> float:
    """The median time of *work* on this thread, once everything is compiled."""
    work()
    times = []
    for _ in range(REPEATS):
        began_s = time.thread_time()
        work()
        times.append(time.thread_time() - began_s)
    return statistics.median(times)


def speed() -> list[bool]:
    cnv, tfc = machine("cnv-w1a1"), machine("tfc-w1a1")
    return [
        figure("simulate one frame of CNV", median_s(lambda: simulate(cnv)), "s", "<= 0.4"),
        figure("simulate one frame of TFC", 1e3 * median_s(lambda: simulate(tfc)), "ms", "<= 5"),
        figure("size the FIFOs of TFC", 1e3 * median_s(lambda: size_fifos(tfc)), "ms", "<= 1000"),
    ]


def accuracy(folder: Path) -> list[bool]:
    design = design_of(NETWORKS["tfc-w1a1"])
    builds = [read_measured(each, design) for each in sorted((folder / "builds").iterdir())]
    shown(builds)
    worst_fitted, worst_predicted = 0, 0
    for chosen in combinations(builds, 3):
        pipelines = fit(chosen)
        for build in builds:
            error = abs(build.latency_error(pipelines))
            if build in chosen:
                worst_fitted = max(worst_fitted, error)
            else:
                worst_predicted = max(worst_predicted, error)
    intervals = [abs(error) for build in builds if (error := build.interval_error()) is not None]
    return [
        figure("latency of fitted builds, worst of 10 choices", worst_fitted, "cycles", "<= 2"),
        figure("latency of predicted builds, worst of 10 choices", worst_predicted, "cycles", "<= 2"),
        figure("interval where many frames were simulated", max(intervals), "cycles", "<= 1"),
    ]


def shown(builds: list[RtlRun]) -> None:
    """One choice of three, build by build."""
    pipelines = fit([build for build in builds if build.name in SHOWN])
    for build in builds:
        group = "fitted   " if build.name in SHOWN else "predicted"
        error = build.latency_error(pipelines)
        sys.stdout.write(
            f"{group} {build.name:26} RTL {build.latency_cycles:5} cycles, ours {build.latency_cycles + error:5}\n"
        )


def main() -> int:
    reached = speed()
    folder = os.environ.get("LABD_MEASURED")
    if folder:
        reached += accuracy(Path(folder))
    else:
        sys.stderr.write("errors are not measured: set LABD_MEASURED to reports of real builds\n")
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
