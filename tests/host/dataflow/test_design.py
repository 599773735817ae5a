"""Designs from the network table: the layers that FINN makes, without FINN."""

from dataclasses import replace

import pytest

from labd_host.dataflow.folded_chain import design_of, read_design
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.dataflow.layers import MaxPool, Mvau, SlidingWindow, Thresholding
from labd_host.networks import NETWORKS
from labd_shared.errors import IllegalFolding, UnknownName, UsageError
from support.paths import ROOT


def test_tfc_has_the_layers_that_finn_makes_of_it(compiled):
    design = design_of(NETWORKS["tfc-w1a1"]).folded(load_folding("lab", "tfc-w1a1"))
    assert design.layers == compiled.golden.network.layers
    assert (design.inputs, design.outputs) == (compiled.inputs, compiled.outputs)


def test_a_bundle_s_design_is_that_of_its_network():
    design = read_design(ROOT / "bitfiles" / "tfc-w1a1-emu")
    assert design == replace(
        design_of(NETWORKS["tfc-w1a1"]).folded(load_folding("lab", "tfc-w1a1")),
        name=design.name,
        settings={},
    )


def test_more_bits_are_what_finn_makes_of_brevitas_narrow_ranges():
    entry = replace(NETWORKS["tfc-w1a1"], in_bits=2, weight_bits=2, act_bits=2, hidden=(64,))
    image, hidden, last, choice = design_of(entry).layers  # as finn-plus 1.6.1 has them, tried by hand
    assert image == Thresholding("Thresholding_rtl_0", 784, 1, 1, 2, "UINT8", "INT2", -1)
    assert hidden == Mvau("MVAU_hls_0", 784, 64, 1, 1, 1, 2, False, "INT2", "INT2", "INT2", -1)
    assert last == Mvau("MVAU_hls_1", 64, 10, 1, 1, 1, 0, False, "INT2", "INT2", "INT32", 0)
    assert (choice.input, choice.output) == ("INT32", "UINT8")
    one_bit = design_of(replace(entry, weight_bits=1)).layers[1]
    assert (one_bit.weight, one_bit.xnor) == ("BIPOLAR", False), "signs times wider values are no XNOR"


def test_what_the_folding_says_beside_pe_and_simd_is_kept():
    folding = Folding("mine", {"MVAU_hls_1": {"PE": 4, "SIMD": 8, "ram_style": "distributed"}}, {})
    design = design_of(NETWORKS["tfc-w1a1"]).folded(folding)
    assert [layer.words for layer in design.layers] == [(1, 1), (1, 1), (8, 4), (1, 1), (1, 1), (1, 1)]
    assert design.settings["MVAU_hls_1"]["ram_style"] == "distributed"


def test_a_folding_is_checked_against_the_layers():
    design = design_of(NETWORKS["tfc-w1a1"])
    with pytest.raises(UnknownName, match="MVAU_hls_9"):
        design.folded(Folding("mine", {"MVAU_hls_9": {"PE": 1}}, {}))
    with pytest.raises(IllegalFolding, match="nearest legal: 4, 8"):
        design.folded(Folding("mine", {"MVAU_hls_1": {"PE": 5}}, {}))


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*network\.npz"):
        read_design(tmp_path)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_of_the_table_is_a_chain(name):
    layers = design_of(NETWORKS[name]).layers
    for before, after in zip(layers, layers[1:], strict=False):
        assert before.out_values == after.in_values, (before.name, after.name)
        assert before.output == after.input, (before.name, after.name)
    assert [layer for layer in layers if isinstance(layer, MaxPool)] == [
        after
        for before, after in zip(layers, layers[1:], strict=False)
        if isinstance(before, SlidingWindow) and before.depthwise
    ]


def test_what_no_folding_names_is_as_finn_makes_it():
    # finn-plus 1.6.1, tried by hand: windows and pools take all channels of a pixel, all others one value.
    for layer in design_of(NETWORKS["cnv-w1a1"]).layers:
        if isinstance(layer, SlidingWindow):
            assert layer.simd == layer.channels
        elif isinstance(layer, MaxPool):
            assert layer.pe == layer.channels
        else:
            assert layer.pe == 1
