"""From what was asked for to foldings: found, checked, written out, known by their content."""

import json
from dataclasses import replace

import pytest

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.experiments.request import PART3, Asked, read_request
from labd_host.experiments.study_plan import plan
from labd_host.explore.latency import first_frame
from labd_host.networks import NETWORKS
from labd_shared.errors import IllegalFolding, UnknownName, UsageError

PART_3 = read_request(PART3)


def planned(*asked, network="tfc-w1a1", **others):
    return plan(replace(PART_3, networks=(network,), experiments=asked, **others)).experiments


def cycles_of(experiment):
    design = design_of(NETWORKS[experiment.network]).folded(Folding("", experiment.settings, {}))
    return estimate(design.layers, design.inputs, design.outputs).cycles_per_frame


@pytest.fixture(scope="module")
def part_3():
    return plan(PART_3)


def test_part_3_is_planned_network_by_network(part_3):
    assert [each.network for each in part_3.experiments] == ["tfc-w1a1"] * 7 + ["cnv-w1a1"] * 7
    assert [each.name for each in part_3.experiments[:7]] == [
        "baseline", "Exp1", "Exp2a", "Exp2b", "Exp2c", "Exp2d", "Exp2e",
    ]  # fmt: skip
    assert not any(each.fault for each in part_3.experiments)
    assert part_3.questions["Exp1"] == "Why is Exp1 slow?"


@pytest.mark.parametrize(("network", "mvau"), [("tfc-w1a1", "MVAU_hls_1"), ("cnv-w1a1", "MVAU_hls_1")])
def test_exp1_is_the_lab_s_folding_but_for_layer_2(part_3, network, mvau):
    baseline, exp1 = (
        each
        for each in part_3.experiments[:9]
        if each.network == network and each.name in ("baseline", "Exp1")
    )
    assert (exp1.settings[mvau]["PE"], exp1.settings[mvau]["SIMD"]) == (1, 1)
    same = {name: settings for name, settings in exp1.settings.items() if name != mvau}
    assert same == {name: settings for name, settings in baseline.settings.items() if name != mvau}
    lab = load_folding("lab", network)
    for name, settings in lab.nodes.items():
        assert settings.items() <= baseline.settings[name].items()
    assert exp1.folding == "lab, layer 2 at PE 1, SIMD 1"


def test_a_layer_of_an_older_finn_s_folding_is_changed_alike(tmp_path):
    old = {f"StreamingFCLayer_Batch_{index}": {"PE": 2, "SIMD": 2} for index in range(4)}
    today = {f"MVAU_hls_{index}": {"PE": 2, "SIMD": 2} for index in range(4)}
    change = {"layer 2": {"PE": 4}}
    found = []
    for name, nodes in (("old.json", old), ("today.json", today)):
        (tmp_path / name).write_text(json.dumps(nodes))
        found += planned(Asked("baseline", folding=str(tmp_path / name), change=change))
    assert found[0].settings == found[1].settings
    assert found[0].settings["MVAU_hls_1"]["PE"] == 4


def test_the_lowest_latency_is_simulated_and_lower_than_the_fastest_folding_s():
    quickest, fastest = planned(Asked("a", folding="lowest-latency"), Asked("b", folding="fastest"))
    cycles = [
        first_frame(design_of(NETWORKS["tfc-w1a1"]).folded(Folding("", each.settings, {})))[0]
        for each in (quickest, fastest)
    ]
    assert cycles[0] < cycles[1]


def test_as_fast_as_is_as_fast(part_3):
    for network in PART_3.networks:
        own = {each.name: cycles_of(each) for each in part_3.experiments if each.network == network}
        assert own["Exp2a"] <= own["baseline"]
        assert own["Exp2c"] <= own["Exp2a"]
        assert own["Exp1"] > 10 * own["baseline"]


def test_the_same_folding_has_one_key_by_whatever_name(tmp_path):
    file = tmp_path / "copy.json"
    file.write_text(json.dumps({"Defaults": {}, **load_folding("lab", "tfc-w1a1").nodes}))
    lab, copy, other = planned(
        Asked("baseline"),
        Asked("copy", folding="copy.json"),
        Asked("other", change={"MVAU_hls_3": {"PE": 5}}),
        folder=tmp_path,
    )
    assert lab.key == copy.key != other.key
    assert (copy.name, copy.folding) == ("copy", "copy.json")


@pytest.mark.parametrize(
    "change", [{"clock_mhz": 50.0}, {"frames": 11}, {"basis": "0"}, {"network_sha256": "0"}, {"part": "xc7z010"}]
)  # fmt: skip
def test_what_decides_a_result_is_in_its_key(change):
    (baseline,) = planned(Asked("baseline"))
    assert replace(baseline, **change).key != baseline.key


def test_names_and_boards_are_not_in_the_key():
    (baseline,) = planned(Asked("baseline"))
    assert replace(baseline, name="x", folding="y", board="03").key == baseline.key


def test_each_clock_is_an_experiment_and_a_rate_is_that_of_its_clock():
    slow, fast = planned(Asked("baseline", folding="cheapest", target_fps=100_000), clocks_mhz=(25.0, 200.0))
    assert (slow.clock_mhz, fast.clock_mhz) == (25.0, 200.0)
    assert cycles_of(slow) <= 250 < cycles_of(fast) <= 2000


def test_illegal_values_are_refused_with_the_nearest_that_are_legal():
    with pytest.raises(
        IllegalFolding, match=r"baseline of tfc-w1a1: PE 3 of MVAU_hls_1 .* nearest legal: 2, 4"
    ):
        planned(Asked("baseline", change={"layer 2": {"PE": 3}}))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked("baseline", change={"layer 7": {"PE": 1}}), "no layer of tfc-w1a1 .* named 'layer 7'"),
        (Asked("baseline", folding="lap"), "no folding for tfc-w1a1 named 'lap'"),
        (Asked("baseline", folding="none.json"), "no folding for tfc-w1a1"),
    ],
)  # fmt: skip
def test_layers_and_foldings_that_there_are_not_are_refused(asked, says):
    with pytest.raises(UnknownName, match=says):
        planned(asked)


def test_a_rate_that_nothing_reaches_is_one_experiment_s_fault():
    much, dependent, fine = planned(
        Asked("baseline", folding="cheapest", target_fps=5_000_000),
        Asked("b", folding="cheapest", as_fast_as="baseline"),
        Asked("c"),
    )
    assert "the DMA takes 98 cycles" in much.fault
    assert dependent.fault == '"baseline" was not planned, so as_fast_as has no target rate'
    assert not fine.fault
    assert not much.settings


def test_a_study_that_leaves_nothing_over_is_refused():
    with pytest.raises(UsageError, match="no experiment of tfc-w1a1"):
        planned(Asked("baseline", network="cnv-w1a1"), baseline="")
