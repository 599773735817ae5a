"""What an experiment's result says is what estimate, simulate and explore say."""

import math
from dataclasses import replace

import pytest

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding
from labd_host.experiments.assess import assess
from labd_host.experiments.request import PART3, read_request
from labd_host.experiments.study_plan import plan
from labd_host.explore import calibration
from labd_host.explore.rivals import calibrated_total, finn_total
from labd_host.networks import NETWORKS
from labd_host.simulate.fifos import depths_of_finn
from labd_host.simulate.pipeline import assemble
from labd_host.simulate.simulator import Deadlock, simulate
from labd_shared.errors import ArtifactError


@pytest.fixture(scope="module")
def tfc():
    request = replace(read_request(PART3), networks=("tfc-w1a1",))
    return {each.name: each for each in plan(request).experiments}


@pytest.fixture(scope="module")
def exp1(tfc):
    return assess(tfc["Exp1"])


def design_for(experiment):
    return design_of(NETWORKS[experiment.network]).folded(Folding("", experiment.settings, {}))


def test_exp1_takes_4096_cycles_and_the_restart_of_its_layer(exp1):
    assert exp1.predicted.interval_cycles == 64 * 64 + 6
    assert exp1.predicted.slowest[0] == exp1.simulated.bottleneck == "MVAU_hls_1"
    assert exp1.predicted.frames_per_s == pytest.approx(100e6 / 4102)
    assert exp1.predicted.dma_interval_cycles == 98


def test_the_simulation_has_finn_s_fifos(tfc, exp1):
    design = design_for(tfc["Exp1"])
    run = simulate(assemble(design).with_named_depths(depths_of_finn(design)), tfc["Exp1"].frames)
    assert exp1.simulated.latency_cycles == run.latency_cycles
    assert exp1.simulated.interval_cycles == run.interval_cycles
    assert exp1.simulated.free_interval_cycles <= run.interval_cycles


def test_the_layers_before_a_slow_one_are_blocked_and_those_behind_it_starve(exp1):
    layers = {layer.name: layer for layer in exp1.layers}
    assert layers["MVAU_hls_1"].working > 0.9
    assert layers["MVAU_hls_0"].blocked > 0.7
    assert layers["MVAU_hls_2"].starved > 0.9
    assert (layers["MVAU_hls_1"].pe, layers["MVAU_hls_1"].simd) == (1, 1)
    assert [exp1.layers[0].op, exp1.layers[-1].op] == ["IODMA", "IODMA"]


def test_the_cells_are_those_of_explore_and_the_fifos_as_deep_as_finn_makes_them(tfc, exp1):
    design = design_for(tfc["Exp1"])
    shallow, spread = calibrated_total(design, calibration.load())
    assert exp1.predicted.finn == finn_total(design)
    assert exp1.predicted.expected.lut > shallow.lut
    assert exp1.predicted.plus_minus.lut >= spread.lut
    assert sum(layer.finn.lut for layer in exp1.layers) == pytest.approx(exp1.predicted.finn.lut)


def test_operations_and_bytes_are_those_of_the_network(exp1):
    weights = 784 * 64 + 64 * 64 + 64 * 64 + 64 * 10
    assert exp1.predicted.operations == 2 * weights
    assert exp1.predicted.peak_operations == 2 * (16 * 49 + 1 + 8 * 8 + 10 * 8)
    assert (exp1.predicted.input_bytes, exp1.predicted.output_bytes) == (784, 1)


def test_a_deadlock_is_a_sentence(tfc, monkeypatch):
    def stuck(*_, **__):
        raise Deadlock("nothing moves after 7 cycles", fix="deeper FIFOs")

    monkeypatch.setattr("labd_host.experiments.assess.simulate", stuck)
    found = assess(tfc["baseline"])
    assert found.simulated.fault == "nothing moves after 7 cycles"
    assert not any(layer.working for layer in found.layers)
    assert math.isfinite(found.predicted.frames_per_s)


def test_a_network_that_changed_since_it_was_planned_is_refused(tfc):
    with pytest.raises(ArtifactError, match="not the network any more"):
        assess(replace(tfc["baseline"], network_sha256="0" * 64))
