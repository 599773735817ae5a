"""What every kind of layer must answer; what a global pool, a depthwise product and an upsampling do."""

from dataclasses import replace

import numpy as np
import pytest

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding, check_folding
from labd_host.dataflow.layers import (
    KINDS,
    GlobalPool,
    LabelSelect,
    MaxPool,
    Mvau,
    SlidingWindow,
    Upsample,
    Vvau,
    kind_of,
)
from labd_host.dataflow.network_file import read_network, write_network
from labd_host.dataflow.resources import Resources
from labd_host.drawing.graph_colours import KINDS as COLOURS
from labd_host.explore import calibration
from labd_host.explore.choices import calibrated_costs, choices_of, finn_costs, stages_of
from labd_host.explore.cost_units import units_of
from labd_host.explore.set_folding import set_folding
from labd_host.flow.explanations import operator
from labd_host.flow.node_facts import kind_of as colour_of
from labd_host.proof.plain_graph import Node
from labd_shared.errors import ArtifactError, IllegalFolding
from support import odd_networks

SHIPPED = calibration.read(calibration.SHIPPED)
WINDOW = SlidingWindow(
    "ConvolutionInputGenerator_rtl_0", 12, 8, 8, 3, 3, 1, 1, 1, 1, True, False, 12, "UINT4", "UINT4"
)
VVAU = Vvau("VVAU_hls_0", 12, 9, 36, 12, 1, 3, "UINT4", "INT4", "UINT2", 0)
LARGER = Upsample("UpsampleNearestNeighbour_hls_0", 12, 4, 5, 2, 3, 1, "UINT4", "UINT4")
POOL = GlobalPool("GlobalAccPool_hls_0", 12, 4, 4, 1, "UINT4", "UINT8")


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_that_finn_gave_a_kind_is_known_coloured_and_explained(kind):
    assert kind.op in kind.finn_names
    assert kind.role in COLOURS
    for name in kind.finn_names:
        for made in ("", "_hls", "_rtl"):
            assert kind_of(name + made) is kind
            assert colour_of(Node("n", name + made, (), (), {})) == kind.role
            assert kind.sentence in operator(name + made)


def test_every_kind_is_among_the_odd_networks_that_both_engines_run():
    assert {type(layer) for layers in odd_networks.NETWORKS.values() for layer in layers} == set(KINDS)


@pytest.mark.parametrize("name", sorted(odd_networks.NETWORKS))
def test_every_layer_is_stored_costed_and_folded(name, tmp_path):
    network, _ = odd_networks.network(name)
    write_network(network, tmp_path / "network.npz")
    assert read_network(tmp_path / "network.npz").layers == network.layers
    design = FoldedChain(name, network.layers, network.inputs, network.outputs)
    assert all(SHIPPED.cost(unit).lut >= 0 for unit in units_of(design))
    for costs in (finn_costs(SHIPPED), calibrated_costs(SHIPPED)):
        for stage in stages_of(design):
            for choice in choices_of(stage, costs):
                check_folding(stage, choice.settings)
    check_folding(network.layers, set_folding(design, 10).nodes)


def test_a_global_pool_is_folded_by_channels():
    check_folding([POOL], {POOL.name: {"PE": 4}})
    with pytest.raises(IllegalFolding, match="PE 5 of GlobalAccPool_hls_0 does not divide its 12 channels"):
        check_folding([POOL], {POOL.name: {"PE": 5}})
    wide = replace(POOL, channels=2048)
    with pytest.raises(IllegalFolding, match="the output stream of GlobalAccPool_hls_0 is 16384 bits wide"):
        check_folding([wide], {POOL.name: {"PE": 2048}})


def test_a_global_pool_reads_a_map_and_then_writes_its_sums():
    assert (POOL.in_values, POOL.out_values) == (16 * 12, 12)
    assert POOL.folded({"PE": 4}).cycles == (16 + 1) * 3


def test_a_global_pool_costs_a_pool_s_logic_and_the_memory_of_its_sums():
    unit = POOL.folded({"PE": 2}).cost_unit({})
    assert (unit.kind, unit.drivers) == ("pool", {"one": 1, "bits": 16})
    assert unit.exact == Resources(lut=12), "16 bits, 6 words"
    assert unit.finn == Resources()


def test_a_depthwise_product_takes_the_groups_of_its_window_and_any_part_of_whole_windows():
    pair = (WINDOW, VVAU)
    check_folding(pair, {WINDOW.name: {"SIMD": 4, "parallel_window": 1}, VVAU.name: {"PE": 4, "SIMD": 3}})
    with pytest.raises(IllegalFolding, match=r"PE 6 of VVAU_hls_0 must be equal: a depthwise product takes"):
        check_folding(pair, {WINDOW.name: {"SIMD": 4}, VVAU.name: {"PE": 6}})
    with pytest.raises(IllegalFolding, match="SIMD 2 of VVAU_hls_0 does not divide its 9 places of a window"):
        check_folding(pair, {VVAU.name: {"SIMD": 2}})
    wide = (replace(WINDOW, channels=2048, simd=1024), replace(VVAU, channels=2048, pe=1024))
    with pytest.raises(
        IllegalFolding, match=r"input stream of VVAU_hls_0 is 12288 bits wide at PE 1024, .* 512"
    ):
        check_folding(wide, {VVAU.name: {"SIMD": 3}})
    ((window, vvau),) = stages_of(FoldedChain("pair", pair, (), ()))
    offered = {
        (
            choice.settings[window.name]["parallel_window"],
            *map(choice.settings[vvau.name].get, ("PE", "SIMD")),
        )
        for choice in choices_of((window, vvau), finn_costs(SHIPPED))
    }
    assert offered == {(0, pe, 1) for pe in (1, 2, 3, 4, 6, 12)} | {
        (1, pe, simd) for pe in (1, 2, 3, 4, 6, 12) for simd in (1, 3, 9)
    }


def test_a_depthwise_product_costs_by_finn_s_formula_and_a_dsp_a_multiplication():
    unit = VVAU.folded({"PE": 4, "SIMD": 3}).cost_unit({"resType": "dsp", "ram_style": "distributed"})
    assert unit.kind == "mvau" and set(unit.drivers) == {"finn"}
    assert unit.exact == Resources(lut=4 * 3 * 4, dsp=12), "9 words of 48 bits"
    assert unit.finn.dsp == 4 and unit.finn.lut == unit.drivers["finn"] + 48
    assert replace(VVAU, input="UINT8").cost_unit({}).kind == "wide mvau"


def test_a_depthwise_product_of_bits_that_are_numbers_is_refused():
    assert list(replace(VVAU, input="BINARY").faults()) == [
        "VVAU_hls_0 takes 0 and 1; of one bit, FINN's depthwise hardware multiplies -1 and 1"
    ]
    assert "has weights of 0 and 1" in next(replace(VVAU, weight="BINARY").faults())
    assert list(VVAU.faults()) == []


def test_an_upsampling_is_folded_by_channels_and_runs_on_from_frame_to_frame():
    check_folding([LARGER], {LARGER.name: {"SIMD": 4}})
    with pytest.raises(IllegalFolding, match=r"SIMD 5 of \S+_hls_0 does not divide its 12 channels"):
        check_folding([LARGER], {LARGER.name: {"SIMD": 5}})
    wide = replace(LARGER, channels=2400)
    with pytest.raises(IllegalFolding, match=r"the input stream of \S+_hls_0 is 9600 bits wide"):
        check_folding([wide], {LARGER.name: {"SIMD": 2400}})
    assert (LARGER.in_values, LARGER.out_values) == (4 * 5 * 12, 8 * 15 * 12)
    assert (LARGER.folded({"SIMD": 4}).cycles, LARGER.restart_cycles) == (8 * 15 * 3, 0)


def test_an_upsampling_costs_a_pool_s_logic_and_the_memory_of_a_map():
    unit = LARGER.folded({"SIMD": 4}).cost_unit({})
    assert (unit.kind, unit.drivers, unit.finn) == ("pool", {"one": 1, "bits": 16}, Resources())
    assert unit.exact == Resources(lut=4 * 6), "60 words are 64"
    assert LARGER.cost_unit({}).exact == Resources(bram18=1), "240 words are 256"
    along = replace(LARGER, scale_h=1)
    assert (along.buffer_words, along.folded({"SIMD": 12}).buffer_words) == (64, 8), "a row"


def test_weights_that_their_datatype_does_not_hold_are_refused():
    stored = VVAU.store("weights", np.full((9, 12), -8))
    assert stored.dtype == np.int8 and stored.shape == (12, 9)
    assert VVAU.restore("weights", stored).tolist() == [[-8] * 12] * 9
    with pytest.raises(ValueError, match=r"weights of VVAU_hls_0 reach from 9 to 9, INT4 holds -8 to 7"):
        VVAU.restore("weights", stored + 17)
    with pytest.raises(ValueError, match="BIPOLAR holds"):
        replace(VVAU, weight="BIPOLAR").restore("weights", stored * 0)


def test_the_windows_of_depthwise_products_count_as_those_of_convolutions_in_old_foldings():
    pool = MaxPool("Pool_hls_0", 12, 9, 4, 12, "UINT2", "UINT2")
    second = replace(WINDOW, name="ConvolutionInputGenerator_rtl_1", input="UINT2", output="UINT2")
    chain = FoldedChain("old", (WINDOW, VVAU, second, pool), (), ())
    old = Folding("old", {WINDOW.name: {"SIMD": 4}, VVAU.name: {"PE": 4}}, {})
    assert old.settings_for(chain)[WINDOW.name] == {"SIMD": 4}
    assert old.settings_for(chain)[second.name] == {}


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (replace(POOL, width=5), "a map of 4 x 5, FINN's hardware takes square ones"),
        # FINN takes the datatype of the least sum: -16, which INT5 holds, and of +16 it makes -16
        (replace(POOL, input="BIPOLAR", output="INT5"), "reach from -16 to 16, INT5 holds -16 to 15"),
        (replace(POOL, output="UINT7"), "reach from 0 to 240, UINT7 holds 0 to 127"),
    ],
)
def test_a_global_pool_that_finn_cannot_build_is_refused(layer, fault, tmp_path):
    assert [found for found in layer.faults() if fault in found]
    network, _ = odd_networks.network("one pixel")
    write_network(replace(network, layers=(layer,)), tmp_path / "network.npz")
    with pytest.raises(ArtifactError, match=fault):
        read_network(tmp_path / "network.npz")


def test_a_layer_says_what_it_does_in_a_cycle():
    assert POOL.work(204) == "adds 1 of 12 channels of one of 16 pixels a cycle"
    assert LARGER.work(1440) == "gives 1 of 12 channels of one of 120 pixels a cycle"
    assert VVAU.work(324) == "multiplies 1 of 9 places for 12 of 12 channels a cycle, for 36 windows"
    assert LabelSelect("l", 10, 2, "INT8", "UINT8").work(5) == "passes 2 values a cycle"
    mvau = Mvau("m", 8, 4, 9, 2, 4, 0, False, "INT2", "INT2", "INT32", 0)
    assert mvau.work(36) == (
        "has PE 2 and SIMD 4: it works on 8 of its 4 x 8 weights a cycle, 4 cycles for each of 9 places"
    )
