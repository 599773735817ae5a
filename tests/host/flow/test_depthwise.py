"""Depthwise convolutions: every form through every stage, and what is refused."""

import random

import numpy as np
import onnx
import pytest

from labd_host.dataflow.folding import Folding, check_folding
from labd_host.dataflow.layers import Mvau, SlidingWindow, Vvau
from labd_host.flow import compile_network
from labd_host.flow.admission import check_network
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_host.flow.gallery import write_gallery
from labd_host.flow.onnx_graph import read_graph
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError
from support.convolutional import images
from support.foldings import random_folding
from support.mobile import write_mobile

FORMS = {
    "stride 2 with padding": {"depthwise": ({"strides": 2, "pads": 1},)},
    "dilated": {"depthwise": ({"dilations": [2, 2]},)},
    "a kernel of one pixel": {"depthwise": ({"kernel": 1},)},
    "one pixel with a stride": {"depthwise": ({"kernel": 1, "strides": 2},)},
    "a scale for each channel": {"scale_per_channel": True},
    "8 bits": {"weight_bits": 8, "act_bits": 8},
    "signs behind numbers": {"weight_bits": 1, "act_bits": 4},
    "signs": {"weight_bits": 1, "act_bits": 1},
    "signs twice": {"weight_bits": 1, "act_bits": 1, "depthwise": ({}, {"kernel": 2})},
    "numbers behind signs": {"weight_bits": 3, "act_bits": 1},
}


def compiled_in(folder, **structure):
    return compile_network(
        write_mobile(folder / "small.onnx", **structure),
        folding=Folding("none", {}, {}),
        out=folder / "out",
        images=images(2),
        many_images=images(50, seed=6),
    )


@pytest.fixture(scope="module")
def mobile(tmp_path_factory):
    return compiled_in(tmp_path_factory.mktemp("mobile"))


def depthwise(compiled):
    return [layer for layer in compiled.golden.network.layers if isinstance(layer, Vvau)]


def test_a_depthwise_convolution_becomes_a_vvau_behind_its_window(mobile):
    # 4 quantisers, 4 products and the label, in every stage
    assert [stage.proof.tensors for stage in mobile.stages] == [0] + [9] * 7 + [2]
    window, vvau = mobile.golden.network.layers[3:5]
    assert isinstance(window, SlidingWindow) and window.depthwise
    assert vvau == Vvau("VVAU_hls_0", 6, 9, 64, 6, 1, 7, "UINT3", "INT4", "UINT3", 0)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_is_proven(form, tmp_path):
    compiled = compiled_in(tmp_path, **FORMS[form])
    assert all(stage.proof.tensors > 1 for stage in compiled.stages[1:])
    found, wanted = depthwise(compiled), FORMS[form].get("depthwise", ({},))
    assert [layer.kernel for layer in found] == [each.get("kernel", 3) ** 2 for each in wanted]
    if form.startswith("signs"):
        assert {layer.weight for layer in found} == {"INT2" if found[0].input == "BIPOLAR" else "BIPOLAR"}


def test_the_golden_model_scores_like_the_export(mobile, tmp_path):
    many = images(200, seed=8)
    scores = ExportedModel(write_mobile(tmp_path / "again.onnx")).run(many)
    np.testing.assert_array_equal(mobile.golden.run(many).outputs[0][:, 0], scores.argmax(axis=1))


def test_it_takes_the_cycles_that_finn_expects_in_any_legal_folding(mobile):
    draw = random.Random(20261130)
    path = next(stage.path for stage in mobile.stages if stage.name == "folded")
    with Finn() as finn:
        model = finn.load(path)
        for _ in range(10):
            settings = random_folding(draw, mobile.golden.network.layers)
            check_folding(mobile.golden.network.layers, settings)
            finn.set_attributes(model, settings)
            network = describe(finn.graph(model), "mobile", finn.edges(model))
            assert {layer.name: layer.cycles for layer in network.layers} == finn.expected_cycles(model)


def test_a_folded_network_is_proven(mobile, tmp_path):
    nodes = {
        "ConvolutionInputGenerator_rtl_1": {"SIMD": 3, "parallel_window": 1},
        "VVAU_hls_0": {"PE": 3, "SIMD": 9, "resType": "dsp", "ram_style": "distributed"},
    }
    compiled = compile_network(
        write_mobile(tmp_path / "small.onnx"),
        folding=Folding("whole", nodes, {}),
        out=tmp_path / "out",
        images=images(2),
        many_images=images(50, seed=6),
    )
    (vvau,) = depthwise(compiled)
    assert (vvau.pe, vvau.simd) == (3, 9)


def test_the_gallery_explains_the_layer(mobile):
    page = write_gallery(mobile, 100.0).read_text()
    assert "each channel with weights of its own" in page


def test_a_convolution_in_other_groups_is_refused_by_name(tmp_path):
    model = onnx.load(str(write_mobile(tmp_path / "small.onnx")))
    node = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    next(each for each in node.attribute if each.name == "group").i = 2
    onnx.save(model, str(tmp_path / "grouped.onnx"))
    with pytest.raises(
        ArtifactError, match=rf"{node.name} \(Conv\): its 2 groups share 12 channels in and 4 out; of grouped"
    ):
        check_network(read_graph(tmp_path / "grouped.onnx"))


def test_a_depthwise_convolution_is_taken_and_is_no_product_of_all_channels(mobile, tmp_path):
    check_network(read_graph(write_mobile(tmp_path / "small.onnx")))
    assert [type(layer) for layer in mobile.golden.network.layers].count(Mvau) == 3
