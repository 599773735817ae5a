"""Foldings that labd chooses: legal, fast enough, and none where there is none."""

import json
import random
from itertools import product

import pytest

from labd_host.emulation.golden_layers import LabelSelect, MaxPool, Mvau, Network, SlidingWindow, Thresholding
from labd_host.explore.cycles import layer_cycles
from labd_host.explore.programs import restart_cycles
from labd_host.flow import Wanted, compile_network, load_folding
from labd_host.flow.auto_folding import AutoFolding
from labd_host.flow.finn_door import Finn
from labd_host.flow.folding import check_folding, folding_of, refolded
from labd_host.flow.stages import SPECIALISED
from labd_host.networks import trained_onnx
from labd_shared.errors import IllegalFolding, UsageError
from labd_shared.tensors import make_tensor
from support.convolutional import images, write_network


def interval(layer):
    """Cycles from frame to frame: those of FINN, and the restart of what HLS made."""
    return layer_cycles(layer) + restart_cycles(layer)


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
NETWORK = Network(
    "small",
    LAYERS,
    (make_tensor("in", "UINT8", (1, 12, 12, 3), (1, 12, 12, 3, 1), "NHWC", "idma0"),),
    (make_tensor("out", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0"),),
    {},
)
ROOMY = {"lanes": 10**9}


def nothing(_):
    """A SetFolding that leaves everything at 1."""
    return {layer.name: {"PE": 1, "SIMD": 1} for layer in LAYERS}


def lanes(settings):
    """A cost that can be added up by hand."""
    return {"lanes": sum(each.get("PE", 1) * each.get("SIMD", 1) for each in settings.values())}


def foldings_of(layers):
    """Every legal folding of a few *layers*, by trying every number: settings, slowest layer's cycles."""
    tries = []
    for layer in layers:
        axes = [key for key in ("PE", "SIMD") if hasattr(layer, key.lower())]
        values = [dict(zip(axes, each, strict=True)) for each in product(range(1, 201), repeat=len(axes))]
        legal = []
        for settings in values:
            try:
                check_folding([layer], {layer.name: settings})
            except IllegalFolding:
                continue
            legal.append((layer.name, settings, interval(refolded(layer, settings))))
        tries.append(legal)
    for chosen in product(*tries):
        yield {name: settings for name, settings, _ in chosen}, max(cycles for _, _, cycles in chosen)


def slowest(settings):
    return max(interval(refolded(layer, settings[layer.name])) for layer in LAYERS)


@pytest.mark.parametrize("propose", ["nothing", "too little", "illegal"])
def test_any_rate_that_can_be_reached_is_reached_with_a_legal_folding(propose):
    draw = random.Random(20261123)

    def proposed(_):
        if propose == "nothing":
            return nothing(_)
        most = 4 if propose == "too little" else 999
        return {layer.name: {"PE": draw.randint(1, most), "SIMD": draw.randint(1, most)} for layer in LAYERS}

    auto = AutoFolding(NETWORK, proposed, lanes)
    for _ in range(50):
        cycles = int(146 * 2 ** draw.uniform(0, 10))
        settings = auto.choose(Wanted(1e8 / cycles, 100.0), ROOMY)
        check_folding(LAYERS, settings)
        assert slowest(settings) <= cycles


def test_what_setfolding_proposes_is_kept_where_it_is_legal_and_fast_enough():
    theirs = {**nothing(0), "MVAU_hls_0": {"PE": 4, "SIMD": 9}, "MVAU_hls_1": {"PE": 3, "SIMD": 40}}
    found = AutoFolding(NETWORK, lambda _: theirs, lanes).choose(Wanted(1e4, 100.0), ROOMY)
    assert found["MVAU_hls_0"] == {"PE": 4, "SIMD": 9}, "more than needed, but theirs"
    assert found["MVAU_hls_1"] == {"PE": 1, "SIMD": 1}, "3 does not divide 4"


def test_a_product_over_more_columns_than_finn_s_limit_gets_its_least_simd():
    wide = Mvau("MVAU_hls_0", 2304, 16, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0)
    ends = (make_tensor("in", "BINARY", (1, 2304), (1, 2304, 1), "NC", "idma0"),)
    out = (make_tensor("out", "UINT32", (1, 16), (1, 16, 1), "NC", "odma0"),)
    auto = AutoFolding(
        Network("w", (wide,), ends, out, {}), lambda _: {"MVAU_hls_0": {"PE": 1, "SIMD": 1}}, lanes
    )
    assert auto.choose(Wanted(1.0, 100.0), ROOMY) == {"MVAU_hls_0": {"PE": 1, "SIMD": 3}}


def test_as_fast_as_there_is_room_for_is_as_fast_as_trying_everything_finds():
    few = (LAYERS[0], LAYERS[2], LAYERS[6])
    network = Network("few", few, NETWORK.inputs, NETWORK.outputs, {})
    every = [(lanes(settings)["lanes"], cycles) for settings, cycles in foldings_of(few)]
    ceiling = 54  # beats of the input DMA: 432 bytes, 8 in each
    for room in (3, 4, 7, 12, 20, 30, 60, 111, 300):
        best = max(ceiling, min(cycles for size, cycles in every if size <= room))
        settings = AutoFolding(network, lambda _: {}, lanes).choose(Wanted(None, 100.0), {"lanes": room})
        assert lanes(settings)["lanes"] <= room
        reached = max(interval(refolded(layer, settings[layer.name])) for layer in few)
        assert max(ceiling, reached) == best, room
    with pytest.raises(
        UsageError, match="even the slowest folding takes 3 lanes by FINN's estimate, 2 is what"
    ):
        AutoFolding(network, lambda _: {}, lanes).choose(Wanted(None, 100.0), {"lanes": 2})


def test_a_rate_no_folding_reaches_names_the_layer_how_far_and_the_most_there_is():
    auto = AutoFolding(NETWORK, nothing, lanes)
    least = 12 * 12 + 2  # a pixel a cycle, where the windows leave whole; FINN's formula
    with pytest.raises(UsageError) as caught:
        auto.choose(Wanted(1e6, 100.0), ROOMY)
    assert caught.value.what == (
        "1,000,000 frames/s at 100 MHz leave 100 cycles for a frame, but ConvolutionInputGenerator_rtl_0 needs 146 "
        "in its widest legal folding: 684,932 frames/s is the most"
    )
    assert "--target-fps 684931 or less" in caught.value.fix
    assert slowest(auto.choose(Wanted(684931, 100.0), ROOMY)) == least


def test_a_rate_beyond_the_dma_names_the_dma():
    dense = (LAYERS[5], LAYERS[6])
    auto = AutoFolding(Network("d", dense, NETWORK.inputs, NETWORK.outputs, {}), lambda _: {}, lanes)
    with pytest.raises(
        UsageError, match=r"the DMA idma0 needs 54, whatever the folding: 1,851,852 frames/s is"
    ):
        auto.choose(Wanted(2e6, 100.0), ROOMY)


def test_a_network_is_compiled_for_a_rate_and_its_folding_can_be_given_again(tmp_path):
    path = write_network(tmp_path / "small.onnx")
    made = compile_network(path, folding=Wanted(100_000, 100.0), out=tmp_path / "out", images=images(1))
    assert made.estimate.cycles_per_frame <= 1000
    assert all(stage.proof.mismatches == 0 for stage in made.stages)
    written = load_folding(str(tmp_path / "out" / "folding.json"), "small")
    assert {name: {key: value for key, value in each.items() if key != "parallel_window"}
            for name, each in written.nodes.items()} == made.folding  # fmt: skip
    compile_network(path, folding=written, out=tmp_path / "again", images=images(1))
    assert (tmp_path / "again" / "network.npz").read_bytes() == made.network_file.read_bytes()


@pytest.mark.parametrize("cycles", [64, 98, 500, 4200])
def test_tfc_is_folded_as_finn_s_own_setfolding_folds_it(compiled, tmp_path, proof_images, cycles):
    """At 64 cycles the DMA would be too slow: SetFolding alone is asked."""
    from finn.transformation.fpgadataflow.set_folding import SetFolding
    from qonnx.custom_op.registry import getCustomOp

    with Finn() as finn:
        model = finn.load(compiled.folder / "6-partition-dataflow.onnx")
        for step in SPECIALISED:
            model = finn.apply(model, step)
        theirs = finn.set_folding(model, cycles)
        folded = model.transform(SetFolding(target_cycles_per_frame=cycles))
        for node in folded.graph.node:
            for key, value in theirs[node.name].items():
                assert getCustomOp(node).get_nodeattr(key) == value, (node.name, key)
    if cycles >= 98:
        made = compile_network(
            trained_onnx("tfc-w1a1"),
            folding=Wanted(1e8 / cycles, 100.0),
            out=tmp_path,
            images=proof_images[:1],
        )
        assert made.folding == theirs


def test_tfc_as_fast_as_there_is_room_for_is_bound_by_its_dma(tmp_path, proof_images):
    made = compile_network(
        trained_onnx("tfc-w1a1"), folding=Wanted(None, 100.0), out=tmp_path, images=proof_images[:1]
    )
    record = json.loads((tmp_path / "estimate.json").read_text())
    assert (record["bottleneck"], record["cycles_per_frame"], record["fits"]) == ("idma0", 98, True)
    assert folding_of(made.golden.network.layers) == made.folding
