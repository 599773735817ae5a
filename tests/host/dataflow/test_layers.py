"""What every kind of layer must answer, and what a global pool does."""

from dataclasses import replace

import pytest

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import check_folding
from labd_host.dataflow.layers import KINDS, GlobalPool, LabelSelect, Mvau, kind_of
from labd_host.dataflow.network_file import read_network, write_network
from labd_host.dataflow.resources import Resources
from labd_host.drawing.graph_colours import KINDS as COLOURS
from labd_host.explore import calibration
from labd_host.explore.choices import calibrated_costs, choices_of, finn_costs, stages_of
from labd_host.explore.cost_units import units_of
from labd_host.explore.set_folding import set_folding
from labd_host.flow.explanations import operator
from labd_host.flow.node_facts import kind_of as colour_of
from labd_host.flow.plain_graph import Node
from labd_shared.errors import ArtifactError, IllegalFolding
from support import odd_networks

SHIPPED = calibration.read(calibration.SHIPPED)
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
    assert LabelSelect("l", 10, 2, "INT8", "UINT8").work(5) == "passes 2 values a cycle"
    mvau = Mvau("m", 8, 4, 9, 2, 4, 0, False, "INT2", "INT2", "INT32", 0)
    assert mvau.work(36) == (
        "has PE 2 and SIMD 4: it works on 8 of its 4 x 8 weights a cycle, 4 cycles for each of 9 places"
    )
