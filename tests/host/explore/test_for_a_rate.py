"""Foldings that labd chooses: legal, fast enough, and none where there is none."""

import json
import random

import pytest

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import FoldedChain, design_of
from labd_host.dataflow.folding import Folding, check_folding, folding_of, load_folding
from labd_host.dataflow.layers import LabelSelect, MaxPool, Mvau, SlidingWindow, Thresholding
from labd_host.explore.for_a_rate import CheapestFolding, FastestFolding, FoldingForRate
from labd_host.explore.rivals import finn_total
from labd_host.flow import compile_network
from labd_host.networks import network, trained_onnx
from labd_shared.errors import UsageError
from labd_shared.tensors import make_tensor
from support.convolutional import images, write_network
from support.facts import lacking

LAYERS = (
    Thresholding("Thresholding_rtl_0", 3, 144, 1, 255, "UINT8", "INT8", -128),
    SlidingWindow("ConvolutionInputGenerator_rtl_0", 3, 12, 12, 3, 3, 1, 1, 1, 1, False, False, 1, "INT8", "INT8"),
    Mvau("MVAU_hls_0", 27, 8, 100, 1, 1, 1, False, "INT8", "BIPOLAR", "BINARY", 0),
    SlidingWindow(
        "ConvolutionInputGenerator_rtl_1", 8, 10, 10, 2, 2, 2, 2, 1, 1, True, False, 1, "BINARY", "BINARY"
    ),
    MaxPool("Pool_hls_0", 8, 25, 4, 1, "BINARY", "BINARY"),
    Mvau("MVAU_hls_1", 200, 4, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0),
    LabelSelect("LabelSelect_hls_0", 4, 1, "UINT32", "UINT8"),
)  # fmt: skip
DESIGN = FoldedChain(
    "small",
    LAYERS,
    (make_tensor("in", "UINT8", (1, 12, 12, 3), (1, 12, 12, 3, 1), "NHWC", "idma0"),),
    (make_tensor("out", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0"),),
)


def cycles_of(design, settings):
    """What a board takes for a frame."""
    folded = design.folded(Folding("chosen", settings, {}))
    return estimate(folded.layers, folded.inputs, folded.outputs).cycles_per_frame


def test_any_rate_that_can_be_reached_is_reached_with_a_legal_folding():
    draw = random.Random(20261123)
    for _ in range(50):
        cycles = int(150 * 2 ** draw.uniform(0, 10))
        settings = FoldingForRate(1e8 / cycles, 100.0).settings_for(DESIGN)
        check_folding(LAYERS, settings)
        assert cycles_of(DESIGN, settings) <= cycles


def test_a_lower_rate_is_never_dearer_and_restarts_of_hls_units_are_counted():
    spent = [
        finn_total(DESIGN.folded(Folding("chosen", FoldingForRate(rate, 100.0).settings_for(DESIGN), {}))).lut
        for rate in (1000, 10_000, 100_000, 400_000)
    ]
    assert spent == sorted(spent) and spent[0] < spent[-1]
    just = cycles_of(DESIGN, FoldingForRate(100_000, 100.0).settings_for(DESIGN))
    assert just <= 1000 < just + LAYERS[2].cycles, "not far below what was asked for"


def test_a_product_over_more_columns_than_finn_s_limit_gets_its_least_simd():
    wide = Mvau("MVAU_hls_0", 2304, 16, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0)
    ends = (make_tensor("in", "BINARY", (1, 2304), (1, 2304, 1), "NC", "idma0"),)
    out = (make_tensor("out", "UINT32", (1, 16), (1, 16, 1), "NC", "odma0"),)
    chosen = FoldingForRate(1.0, 100.0).settings_for(FoldedChain("w", (wide,), ends, out))
    assert (chosen["MVAU_hls_0"]["PE"], chosen["MVAU_hls_0"]["SIMD"]) == (1, 3)


def test_a_rate_no_folding_reaches_names_the_layer_how_far_and_the_most_there_is():
    least = 12 * 12 + 2  # a pixel a cycle, where the windows leave whole; FINN's formula
    with pytest.raises(UsageError) as caught:
        FoldingForRate(1e6, 100.0).settings_for(DESIGN)
    window = ("ConvolutionInputGenerator_rtl_0", "146", "684,932 frames/s")
    assert lacking(caught.value.what, "1,000,000 frames/s", "100 MHz", "100 cycles", *window) == []
    assert "--target-fps 684931 or less" in caught.value.fix
    assert cycles_of(DESIGN, FoldingForRate(684931, 100.0).settings_for(DESIGN)) == least


def test_a_rate_beyond_the_dma_names_the_dma():
    dense = FoldedChain("d", (LAYERS[5], LAYERS[6]), DESIGN.inputs, DESIGN.outputs)
    with pytest.raises(UsageError, match=r"the DMA idma0 needs 54, .* 1,851,852 frames/s"):
        FoldingForRate(2e6, 100.0).settings_for(dense)


def test_a_rate_that_the_fpga_has_no_room_for_says_what_it_lacks_and_where_budgets_are():
    design = design_of(network("cnv-w1a1"))
    with pytest.raises(UsageError, match=r"\d cycles .* at least [\d,]+ LUT, the budget is 37,240") as caught:
        FoldingForRate(12_000, 100.0).settings_for(design)
    assert "labd explore cnv-w1a1" in caught.value.fix
    reached = cycles_of(design, FastestFolding().settings_for(design))
    assert 1e8 / reached < 12_000


@pytest.mark.parametrize("name", ["sfc-w1a1", "cnv-w2a2"])
def test_the_cheapest_folding_of_all_needs_no_room_and_is_legal_where_one_value_a_cycle_is_not(name):
    design = design_of(network(name))
    cheapest = design.folded(CheapestFolding())
    assert finn_total(cheapest).lut <= finn_total(design.folded(FastestFolding())).lut
    wide = [layer for layer in cheapest.layers if isinstance(layer, Mvau) and layer.mw > 1024]
    assert all(layer.simd > 1 for layer in wide) and bool(wide) == (name == "cnv-w2a2")


def test_a_network_is_compiled_for_a_rate_and_its_folding_can_be_given_again(tmp_path):
    path = write_network(tmp_path / "small.onnx")
    made = compile_network(
        path, folding=FoldingForRate(100_000, 100.0), out=tmp_path / "out", images=images(1)
    )
    assert made.estimate.cycles_per_frame <= 1000
    assert all(stage.proof.mismatches == 0 for stage in made.stages)
    written = load_folding(str(tmp_path / "out" / "folding.json"), "small")
    assert {name: {key: value for key, value in each.items() if key in ("PE", "SIMD")}
            for name, each in written.nodes.items()} == made.folding  # fmt: skip
    compile_network(path, folding=written, out=tmp_path / "again", images=images(1))
    assert (tmp_path / "again" / "network.npz").read_bytes() == made.network_file.read_bytes()


def test_tfc_as_fast_as_there_is_room_for_is_bound_by_its_dma(tmp_path, proof_images):
    made = compile_network(
        trained_onnx("tfc-w1a1"), folding=FastestFolding(), out=tmp_path, images=proof_images[:1]
    )
    record = json.loads((tmp_path / "estimate.json").read_text())
    assert (record["bottleneck"], record["cycles_per_frame"], record["fits"]) == ("idma0", 98, True)
    assert folding_of(made.golden.network.layers) == made.folding


def test_the_key_is_what_decides_on_the_settings_and_the_name_is_for_people():
    exact, same = FoldingForRate(1e8 / 1000, 100.0), FoldingForRate(2e8 / 1000, 200.0)
    assert exact.key == same.key and exact.name != same.name, "cycles decide, not how they came about"
    assert exact.name == "the cheapest for 100,000 frames/s at 100 MHz"
    assert len({json.dumps(each.key) for each in (exact, FoldingForRate(1.0, 100.0), FastestFolding())}) == 3
    assert (
        Folding("one", {"MVAU_hls_0": {"PE": 2}}, {}).key
        == Folding("other", {"MVAU_hls_0": {"PE": 2}}, {}).key
    )
