"""The lowest latency: beside every folding there is on small networks, each of them simulated."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.explore import calibration
from labd_host.explore.choices import calibrated_costs, choices_of, finn_costs, stages_of
from labd_host.explore.latency import first_frame, lowest_latency
from labd_host.explore.optimiser import Explorer
from labd_host.explore.rivals import calibrated_total, finn_total
from labd_host.networks import NETWORKS
from labd_host.networks.table import Conv
from labd_host.simulate.fifos import depths_of_finn
from labd_host.simulate.pipeline import assemble
from labd_host.simulate.simulator import simulate

SHIPPED = calibration.read(calibration.SHIPPED)
COSTS = {"finn": finn_costs(SHIPPED), "calibrated": calibrated_costs(SHIPPED)}
SMALL = {
    "fc": replace(NETWORKS["tfc-w1a1"], input_shape=(2, 3, 1), hidden=(4,), classes=2),
    "cnv": replace(NETWORKS["cnv-w1a1"], input_shape=(4, 4, 1), convs=(Conv(2, True),), hidden=(), classes=2),
}


def all_foldings(design, costs):
    """Every folding there is: its cells, and its latency as FINN's FIFOs give it."""
    latencies = {}
    for chosen in itertools.product(*(list(choices_of(stage, costs)) for stage in stages_of(design))):
        settings = {node: each for choice in chosen for node, each in choice.settings.items()}
        folded = design.folded(Folding("tried", settings, {}))
        total = finn_total(folded) if costs.name == "finn" else calibrated_total(folded, SHIPPED)[0]
        if folded.layers not in latencies:
            machine = assemble(folded, dma=False).with_named_depths(depths_of_finn(folded))
            latencies[folded.layers] = simulate(machine).latency_cycles
        yield latencies[folded.layers], total


@pytest.mark.parametrize("model", sorted(COSTS))
@pytest.mark.parametrize("name", sorted(SMALL))
def test_hardly_any_folding_of_a_small_network_is_simulated_to_be_quicker(name, model):
    design, costs = design_of(SMALL[name]), COSTS[model]
    everything = list(all_foldings(design, costs))
    luts = np.array([total.lut for _, total in everything])
    cycles = []
    for share in (0.1, 0.3, 0.6, 1.0):
        budgets = {"lut": int(np.quantile(luts, share)), "bram18": 3}
        least = min(latency for latency, total in everything if keeps(total, budgets))
        found = lowest_latency(Explorer(design, costs, budgets, dma=False))
        assert keeps(found.solution.cost, budgets)
        assert found.least_cycles <= least <= found.latency_cycles <= 1.07 * least
        cycles.append((found.latency_cycles, least))
    assert sum(ours == least for ours, least in cycles) >= 2, cycles
    assert cycles[-1][0] == cycles[-1][1], "without a budget of LUTs"


def keeps(total, budgets):
    return all(getattr(total, cell) <= most for cell, most in budgets.items())


def test_cnv_is_quicker_than_where_the_sum_of_its_cycles_is_least():
    budgets = {"lut": 37_240, "ff": 53_200, "bram18": 224, "dsp": 176}
    explorer = Explorer(design_of(NETWORKS["cnv-w1a1"]), COSTS["calibrated"], budgets)
    found = lowest_latency(explorer)
    by_sum, _ = first_frame(explorer.lowest_latency().design)
    assert found.latency_cycles < 0.9 * by_sum
    assert keeps(found.solution.cost, budgets)
    assert found.latency_cycles == first_frame(found.solution.design)[0]


def test_what_the_first_frame_waits_for_is_all_of_its_latency():
    latency, waits = first_frame(design_of(NETWORKS["tfc-w1a1"]).folded(load_folding("lab", "tfc-w1a1")))
    assert latency <= sum(waits.values()) <= latency + 1
    assert waits["Thresholding_rtl_0"] + waits["idma0"] > 0
    slow = design_of(NETWORKS["tfc-w1a1"]).folded(Folding("slow", {"MVAU_hls_1": {"PE": 1, "SIMD": 1}}, {}))
    latency, waits = first_frame(slow)
    assert max(waits, key=waits.get) == "MVAU_hls_0"  # 784 * 64 cycles, nothing in front of it as slow
    assert waits["MVAU_hls_1"] >= 63 * 64, "its 64 rows, but for the first, come after its input"
