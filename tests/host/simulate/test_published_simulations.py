"""The simulator against RTL simulations of five public builds: skipped without LABD_MEASURED."""

import os
from itertools import combinations
from pathlib import Path

import pytest

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.programs import HLS, words_read
from labd_host.networks import NETWORKS
from labd_host.simulate.fifos import finn_depths
from labd_host.simulate.rtl_reports import fit, read_measured


@pytest.fixture(scope="module")
def builds():
    root = os.environ.get("LABD_MEASURED")
    if not root or not (Path(root) / "builds").is_dir():
        pytest.skip("needs reports of real builds: set LABD_MEASURED to a folder that has builds/")
    design = design_of(NETWORKS["tfc-w1a1"])
    return [read_measured(folder, design) for folder in sorted((Path(root) / "builds").iterdir())]


def test_the_latency_of_every_build_is_within_one_cycle_of_its_rtl(builds):
    assert len(builds) == 5
    errors = {build.name: build.latency_error() for build in builds}
    assert max(map(abs, errors.values())) <= 1, errors


def test_the_interval_is_within_one_cycle_where_many_frames_were_simulated(builds):
    errors = {build.name: build.interval_error() for build in builds if build.interval_cycles is not None}
    assert list(errors) == ["tfc_w1a1_pynqz2_custom_4"]
    assert all(abs(error) <= 1 for error in errors.values())


def test_any_three_builds_predict_the_other_two(builds):
    for chosen in combinations(builds, 3):
        pipelines = fit(chosen)
        errors = {build.name: build.latency_error(pipelines) for build in builds if build not in chosen}
        assert max(map(abs, errors.values())) <= 2, (pipelines, errors)


def test_the_constants_are_those_that_fit_all_builds(builds):
    assert fit(builds) == HLS


def test_finn_s_rule_gives_the_depths_that_finn_chose_but_one(builds):
    others, fifos = [], 0
    for build in builds:
        machine = build.config.machine(build.design, dma=False)
        slowest = max(layer.cycles for layer in build.config.design(build.design).layers)
        reshapes = [words_read(unit.program) for unit in machine.units if unit.op == "Reshape"]
        slowest = max(slowest, *reshapes, 0)
        chosen = {fifo.name: fifo.depth for fifo in machine.fifos}
        found = finn_depths(machine, slowest)
        others += [(build.name, name) for name in chosen if found[name] != chosen[name]]
        fifos += len(chosen)
    assert (others, fifos) == ([("tfc_w1a1_pynqz2_auto", "StreamingFIFO_rtl_8")], 46)
