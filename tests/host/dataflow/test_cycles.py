"""The cycle model: FINN's own numbers for the layers, and the DMA that FINN leaves out."""

import random
from dataclasses import replace

import pytest

from labd_host.dataflow.cycles import dma_cycles, estimate
from labd_host.dataflow.folding import check_folding
from labd_host.dataflow.layers import Mvau, Thresholding
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_shared.tensors import make_tensor


def test_tfc_with_the_lab_s_folding_is_limited_by_its_input_dma(compiled):
    found = compiled.estimate
    assert [(node.name, node.op, node.cycles) for node in found.nodes] == [
        ("idma0", "IODMA", 98),
        ("Thresholding_rtl_0", "Thresholding", 16),
        ("MVAU_hls_0", "MVAU", 64),
        ("StreamingDataWidthConverter_rtl_0", "StreamingDataWidthConverter", 8),
        ("MVAU_hls_1", "MVAU", 64),
        ("MVAU_hls_2", "MVAU", 64),
        ("MVAU_hls_3", "MVAU", 8),
        ("StreamingDataWidthConverter_rtl_1", "StreamingDataWidthConverter", 10),
        ("LabelSelect_hls_0", "LabelSelect", 10),
        ("odma0", "IODMA", 1),
    ]
    assert (found.cycles_per_frame, found.bottleneck) == (98, "idma0")
    assert found.latency_cycles == 98 + 16 + 3 * 64 + 8 + 10 + 1
    assert round(found.frames_per_s(100.0)) == 1_020_408


def test_layers_take_the_cycles_that_finn_expects(compiled):
    inserted = ("IODMA", "StreamingDataWidthConverter")
    layers = {node.name: node.cycles for node in compiled.estimate.nodes if node.op not in inserted}
    assert layers == compiled.finn_cycles


def test_layers_take_the_cycles_that_finn_expects_in_any_folding(compiled):
    draw = random.Random(20261123)
    path = next(stage.path for stage in compiled.stages if stage.name == "folded")
    extents = {layer.name: layer for layer in compiled.golden.network.layers}
    with Finn() as finn:
        model = finn.load(path)
        for _ in range(20):
            settings = {name: fold(draw, layer) for name, layer in extents.items()}
            check_folding(tuple(extents.values()), settings)
            finn.set_attributes(model, settings)
            network = describe(finn.graph(model), "tfc", finn.edges(model))
            ours = {layer.name: layer.cycles for layer in network.layers}
            assert ours == finn.expected_cycles(model), settings


def fold(draw, layer):
    def divisor(extent, most):
        return draw.choice([each for each in range(1, most + 1) if extent % each == 0])

    if isinstance(layer, Mvau):
        return {"PE": divisor(layer.mh, 10), "SIMD": divisor(layer.mw, layer.mw)}
    extent = layer.channels if isinstance(layer, Thresholding) else layer.labels
    return {"PE": divisor(extent, extent)}


@pytest.mark.parametrize(
    ("datatype", "normal", "folded", "cycles", "what"),
    [
        ("UINT8", (1, 784), (1, 16, 49), 98, "TFC: 64 bits a beat"),
        ("UINT8", (1, 32, 32, 3), (1, 32, 32, 1, 3), 384, "CNV: 64 bits a beat"),
        ("INT8", (1, 490), (1, 49, 10), 245, "KWS: 490 bytes, 16 bits a beat"),
        ("BIPOLAR", (1, 600), (1, 15, 40), 75, "UNSW: 75 bytes, 8 bits a beat"),
        ("UINT8", (1, 1), (1, 1, 1), 1, "a label"),
    ],
)
def test_a_dma_moves_the_common_divisor_of_frame_and_port(datatype, normal, folded, cycles, what):
    assert dma_cycles(make_tensor("x", datatype, normal, folded, "NC", "idma0")) == cycles, what


def test_the_slowest_layer_is_named_where_the_dma_is_not_the_limit(compiled):
    network = compiled.golden.network
    slow = [replace(layer, pe=1) if layer.name == "MVAU_hls_2" else layer for layer in network.layers]
    found = estimate(slow, network.inputs, network.outputs)
    assert (found.bottleneck, found.cycles_per_frame) == ("MVAU_hls_2", 64 * 8 + 6)
    assert [(node.name, node.interval_cycles) for node in found.slowest(3)] == [
        ("MVAU_hls_2", 518),
        ("idma0", 98),
        ("MVAU_hls_0", 70),
    ]


def test_an_hls_unit_needs_six_cycles_more_than_finn_says_and_an_rtl_unit_none(compiled):
    # RTL simulation of a public build, 1000 frames: 20 cycles a frame where FINN's estimate is 14.
    nodes = {node.name: node.restart_cycles for node in compiled.estimate.nodes}
    assert (nodes["MVAU_hls_0"], nodes["Thresholding_rtl_0"], nodes["idma0"]) == (6, 0, 0)
