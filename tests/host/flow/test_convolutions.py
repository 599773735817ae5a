"""Convolutional networks through FINN, every stage proven; on small ones that need neither torch nor data."""

import random
from dataclasses import replace

import numpy as np
import pytest

from labd_host.dataflow.folding import Folding, check_folding
from labd_host.dataflow.layers import LabelSelect, MaxPool, Mvau, Padding, SlidingWindow, Thresholding
from labd_host.flow import compile_network
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import IllegalFolding, StageMismatch
from support.convolutional import images, write_network
from support.foldings import random_folding

UNFOLDED = Folding("none", {}, {})
NAMES = ["exported", "tidy", "prepost", "streamlined", "hardware", "partition", "folded", "golden", "answers"]


def compiled_in(folder, **structure):
    path = write_network(folder / "small.onnx", **structure)
    return compile_network(
        path, folding=UNFOLDED, out=folder / "out", images=images(3), many_images=images(100, seed=6)
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return compiled_in(tmp_path_factory.mktemp("w1a1"))


def kinds(compiled):
    return [type(layer) for layer in compiled.golden.network.layers]


def test_every_stage_of_a_convolutional_network_is_proven_on_all_its_tensors(small):
    assert [stage.name for stage in small.stages] == NAMES
    # 6 quantisers (the image's included), 5 products and the label, in every stage
    assert [stage.proof.tensors for stage in small.stages] == [0] + [11] * 7 + [2]
    assert [stage.proof.images for stage in small.stages] == [3] * 8 + [100]
    assert kinds(small) == [
        Thresholding,
        *(SlidingWindow, Mvau) * 2,
        *(SlidingWindow, MaxPool),
        *(SlidingWindow, Mvau, Mvau, Mvau, LabelSelect),
    ]
    assert small.inputs[0].normal == (1, 12, 12, 3)
    assert small.inputs[0].layout == "NHWC"


def test_the_golden_model_scores_like_the_export(small, tmp_path):
    many = images(300, seed=8)
    scores = ExportedModel(write_network(tmp_path / "again.onnx")).run(many)
    found = small.golden.run(many)
    affine = small.stages[0].proof.scores
    exact = affine.scale * (2 * found.logits - 9) + affine.offset
    np.testing.assert_allclose(scores, exact, rtol=0, atol=affine.scale / 1000)
    np.testing.assert_array_equal(found.outputs[0][:, 0], scores.argmax(axis=1))


@pytest.mark.parametrize(
    "structure",
    [
        {"weight_bits": 2, "act_bits": 2},
        {"weight_bits": 2, "act_bits": 2, "relu": False},
        {"act_bits": 2, "kernel": 5, "pads": 2},
        {"weight_bits": 4, "act_bits": 4, "pads": 1},
        {"stride": 2, "kernel": 2},
    ],
    ids=lambda structure: " ".join(f"{key} {value}" for key, value in structure.items()),
)
def test_few_bits_padding_wide_kernels_and_strides_are_proven_too(structure, tmp_path):
    compiled = compiled_in(tmp_path, **structure)
    assert [stage.name for stage in compiled.stages] == NAMES
    assert (Padding in kinds(compiled)) == bool(structure.get("pads"))
    for name, cycles in compiled.finn_cycles.items():
        assert next(node.cycles for node in compiled.estimate.nodes if node.name == name) == cycles, name


def test_a_stage_that_changes_a_result_is_named_with_its_layer(tmp_path, monkeypatch):
    # FINN pads with zeros; a network of -1 and +1 has none, and its bits make a -1 of them. Admission refuses it.
    monkeypatch.setattr("labd_host.flow.stage_tasks.check_network", lambda graph: None)
    with pytest.raises(StageMismatch, match=r"stage streamlined .* (sums|levels) of ") as raised:
        compiled_in(tmp_path, pads=1)
    assert raised.value.facts["layer"].startswith(("XnorPopcountMatMul", "MultiThreshold", "MatMul"))
    assert (tmp_path / "out" / "3-prepost.json").is_file(), "what was proven before it stays"
    assert not (tmp_path / "out" / "4-streamlined.json").exists()


def test_layers_take_the_cycles_that_finn_expects_in_any_legal_folding(small):
    draw = random.Random(20261123)
    path = next(stage.path for stage in small.stages if stage.name == "folded")
    layers = small.golden.network.layers
    with Finn() as finn:
        model = finn.load(path)
        for _ in range(20):
            settings = random_folding(draw, layers)
            check_folding(layers, settings)
            finn.set_attributes(model, settings)
            network = describe(finn.graph(model), "small", finn.edges(model))
            ours = {layer.name: layer.cycles for layer in network.layers}
            assert ours == finn.expected_cycles(model), settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"ConvolutionInputGenerator_rtl_1": {"SIMD": 3}},
            "SIMD 3 of ConvolutionInputGenerator_rtl_1 does not divide its 8 channels; nearest legal: 2, 4",
        ),
        (
            {"Pool_hls_0": {"PE": 4}},
            "PE 4 of Pool_hls_0 does not divide its 6 channels; nearest legal: 3, 6",
        ),
        (
            {"ConvolutionInputGenerator_rtl_2": {"SIMD": 3}, "Pool_hls_0": {"PE": 2}},
            "SIMD 3 of ConvolutionInputGenerator_rtl_2 and PE 2 of Pool_hls_0 must be equal",
        ),
        (
            {"ConvolutionInputGenerator_rtl_1": {"SIMD": 4, "parallel_window": 1}},
            "SIMD 4 of ConvolutionInputGenerator_rtl_1 with parallel_window .*; nearest legal: 8",
        ),
    ],
)
def test_an_illegal_folding_of_windows_and_pools_is_refused_with_the_nearest_legal_values(
    small, settings, says
):
    with pytest.raises(IllegalFolding, match=says):
        check_folding(small.golden.network.layers, settings)


def test_a_folding_for_a_streaming_max_pool_counts_the_windows_of_convolutions_only(small):
    layers = small.golden.network.layers
    window = "ConvolutionInputGenerator_rtl_{}".format
    old = Folding(
        "old",
        {
            window(0): {"SIMD": 1},
            window(1): {"SIMD": 2},
            window(2): {"SIMD": 3},
            "StreamingMaxPool_hls_0": {},
        },
        {},
    )
    found = old.settings_for(small.golden.network)
    assert {name: found[name] for name in found if name.startswith("Conv")} == {
        window(0): {"SIMD": 1},
        window(1): {"SIMD": 2},
        window(2): {},
        window(3): {"SIMD": 3},
    }
    check_folding(layers, found)
    new = replace(old, nodes={window(2): {"SIMD": 3}, "Pool_hls_0": {"PE": 3}})
    assert new.settings_for(small.golden.network)[window(2)] == {"SIMD": 3}, "who names the pools means them"
