"""The optimiser: time and quality beside the lab's hand folding and FINN's SetFolding; the estimate's error.

Figures of cells are FINN's own (res_estimation's formulas; the tests compare them with FINN). Times are this
thread's processor time, the choices of every layer counted anew each time; the median of several.
The error of the estimate needs the reports of real builds: LABD_MEASURED.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measure import figure

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import FoldedChain, design_of
from labd_host.dataflow.folding import load_folding
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import CostUnit
from labd_host.explore import calibration
from labd_host.explore.build_reports import read_build
from labd_host.explore.calibration import Sample, fitted
from labd_host.explore.choices import finn_costs
from labd_host.explore.latency import first_frame, lowest_latency
from labd_host.explore.optimiser import Explorer
from labd_host.explore.rivals import cheapest_beside, finn_total
from labd_host.explore.set_folding import set_folding
from labd_host.networks import NETWORKS
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import IllegalFolding

COSTS = finn_costs(calibration.read(calibration.SHIPPED))
PART = part_of(PYNQ_Z2_DEVICE).recommended
BUDGETS = {"lut": int(PART.lut), "bram18": int(PART.bram18), "dsp": int(PART.dsp)}
TARGETS = (98, 500, 2_000, 5_000, 10_000, 20_000, 28_000, 32_768, 50_000, 66_236, 100_000, 300_000)


def cycles_of(design: FoldedChain) -> int:
    return max(node.cycles for node in estimate(design.layers, (), ()).nodes)


def milliseconds(what: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began_s = time.thread_time()
        what()
        taken.append(time.thread_time() - began_s)
    return statistics.median(taken) * 1e3


def against_hand() -> list[bool]:
    """CNV beside its hand folding, and how long that takes."""
    design = design_of(NETWORKS["cnv-w1a1"])
    hand = design.folded(load_folding("lab", "cnv-w1a1"))
    spent, cycles = finn_total(hand), cycles_of(hand)
    memories = {"bram18": int(spent.bram18)}
    both = {**memories, "lut": int(spent.lut)}
    faster = cycles_of(Explorer(design, COSTS, both).fastest().design)
    fewer = finn_total(Explorer(design, COSTS, memories).cheapest(cycles).design).lut

    def explorer() -> Explorer:
        return Explorer(design, COSTS, BUDGETS)

    return [
        figure("CNV, frames/s more in the hand folding's LUT and BRAM18", 100 * (cycles / faster - 1), "%", ">= 12"),
        figure("CNV, LUT less at the hand folding's cycles", 100 * (1 - fewer / spent.lut), "%", ">= 6"),
        figure("CNV, cheapest for a rate", milliseconds(lambda: explorer().cheapest(cycles), 9), "ms", "<= 50"),
        figure("CNV, fastest that fits", milliseconds(lambda: explorer().fastest(), 5), "ms", "<= 500"),
        latency(explorer()),
        figure("CNV, lowest latency", milliseconds(lambda: lowest_latency(explorer()), 1), "ms", "<= 20000"),
        figure("CNV, the frontier", milliseconds(lambda: list(explorer().frontier()), 3), "ms", "<= 5000"),
    ]  # fmt: skip


def latency(explorer: Explorer) -> bool:
    """CNV's first frame, simulated, beside that of the folding whose layers have the fewest cycles together."""
    by_sum, _ = first_frame(explorer.lowest_latency().design)
    ratio = by_sum / lowest_latency(explorer).latency_cycles
    return figure(
        "CNV, latency of the least sum of cycles for that of the search by simulation", ratio, "x", ">= 1.1"
    )


def against_set_folding() -> list[bool]:
    """Every network of the table at the cycles SetFolding reaches: LUTs of theirs for one of ours, the worst."""
    reached = []
    for name, entry in NETWORKS.items():
        design, ratios, slower = design_of(entry), [], []
        explorer = Explorer(design, COSTS, {"dsp": 0}, dma=False)  # SetFolding multiplies in LUTs
        for target in TARGETS:
            try:
                theirs = design.folded(set_folding(design, target))
            except IllegalFolding:
                continue  # FINN folds a layer further than HLS can
            ours = cheapest_beside(explorer, theirs).design
            slower.append(cycles_of(ours) / cycles_of(theirs))
            ratios.append(finn_total(theirs).lut / finn_total(ours).lut)
        reached.append(
            figure(
                f"{name}, SetFolding's LUT for ours, the least of {len(ratios)} rates",
                min(ratios),
                "x",
                ">= 1",
            )
        )
        reached.append(figure(f"{name}, the same, the most", max(ratios), "x", ">= 1"))
        reached.append(figure(f"{name}, our cycles for SetFolding's, the most", max(slower), "x", "<= 1"))
    return reached


def estimate_error(measured: Path) -> list[bool]:
    """LUTs of 1-bit MVAUs, every folding predicted from the others; FINN's own estimate beside it."""
    samples: dict[tuple[int, ...], list[Sample]] = {}
    finn: dict[tuple[int, ...], float] = {}
    network = design_of(NETWORKS["tfc-w1a1"])
    for folder in sorted((measured / "builds").iterdir()):
        report = read_build(folder, part_of(PYNQ_Z2_DEVICE))
        for layer in report.design(network).layers:
            if layer.op == "MVAU":
                unit, key = layer.cost_unit({}), (layer.mw, layer.mh, layer.pe, layer.simd)
                finn[key] = layer.finn_estimate({}).lut
                sample = Sample(unit.kind, unit.drivers, unit.exact, report.cells[layer.name])
                samples.setdefault(key, []).append(sample)
    ours, theirs = [], []
    for left_out, found in samples.items():
        rest = [sample for key, each in samples.items() if key != left_out for sample in each]
        lut = statistics.mean(sample.measured.lut for sample in found)
        unit = CostUnit("", found[0].kind, found[0].drivers, found[0].exact)
        ours.append(100 * abs(fitted(rest, None, "the others").cost(unit).lut / lut - 1))
        theirs.append(100 * abs(finn[left_out] / lut - 1))
    return [
        figure(
            f"LUT of 1-bit MVAUs, mean error over {len(ours)} foldings", statistics.mean(ours), "%", "<= 20"
        ),
        figure("the same, the worst folding", max(ours), "%", "<= 100"),
        figure("the same, FINN's own estimate, mean", statistics.mean(theirs), "%", ">= 0"),
        figure("the same, FINN's own estimate, the worst", max(theirs), "%", ">= 0"),
    ]


def main() -> int:
    reached = [*against_hand(), *against_set_folding()]
    if measured := os.environ.get("LABD_MEASURED"):
        reached += estimate_error(Path(measured))
    else:
        print("the estimate's error needs reports of real builds: LABD_MEASURED", file=sys.stderr)
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
