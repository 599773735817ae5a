"""Averages of a whole feature map: every spelling through every stage, and what is refused."""

import random

import numpy as np
import onnx
import pytest

from labd_host.dataflow.folding import Folding, check_folding
from labd_host.dataflow.layers import GlobalPool, LabelSelect, Mvau, Thresholding
from labd_host.flow import compile_network
from labd_host.flow.admission import check_network
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_host.flow.gallery import write_gallery
from labd_host.flow.stages import EXPORTED, FOLD_CONSTANTS
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError
from support.convolutional import images, write_network
from support.foldings import random_folding

FEW_BITS = {"weight_bits": 2, "act_bits": 2}


def compiled_in(folder, **structure):
    return compile_network(
        write_network(folder / "small.onnx", **FEW_BITS, **structure),
        folding=Folding("none", {}, {}),
        out=folder / "out",
        images=images(3),
        many_images=images(100, seed=6),
    )


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    return compiled_in(tmp_path_factory.mktemp("averaged"), average="GlobalAveragePool")


def test_the_division_goes_past_the_product_into_the_thresholds_behind_it(averaged):
    # 6 quantisers, 5 products, the average and the label, in every stage
    assert [stage.proof.tensors for stage in averaged.stages] == [0] + [12] * 7 + [2]
    layers = averaged.golden.network.layers
    assert [type(layer) for layer in layers[-4:]] == [GlobalPool, Mvau, Mvau, LabelSelect]
    assert layers[-4] == GlobalPool("GlobalAccPool_hls_0", 10, 2, 2, 1, "UINT2", "UINT4")


@pytest.mark.parametrize("written", ["ReduceMean flat", "AveragePool"])
def test_every_spelling_is_proven_with_the_division_in_the_thresholds_behind(written, tmp_path):
    compiled = compiled_in(tmp_path, average=written, average_bits=4)
    assert [stage.proof.tensors for stage in compiled.stages] == [0] + [13] * 7 + [2]
    kinds = [type(layer) for layer in compiled.golden.network.layers]
    assert kinds[-5:] == [GlobalPool, Thresholding, Mvau, Mvau, LabelSelect]


def test_the_golden_model_scores_like_the_export(averaged, tmp_path):
    many = images(200, seed=8)
    scores = ExportedModel(
        write_network(tmp_path / "again.onnx", **FEW_BITS, average="GlobalAveragePool")
    ).run(many)
    np.testing.assert_array_equal(averaged.golden.run(many).outputs[0][:, 0], scores.argmax(axis=1))


def test_it_takes_the_cycles_that_finn_expects_in_any_legal_folding(averaged):
    draw = random.Random(20261130)
    path = next(stage.path for stage in averaged.stages if stage.name == "folded")
    with Finn() as finn:
        model = finn.load(path)
        for _ in range(10):
            settings = random_folding(draw, averaged.golden.network.layers)
            check_folding(averaged.golden.network.layers, settings)
            finn.set_attributes(model, settings)
            network = describe(finn.graph(model), "averaged", finn.edges(model))
            assert {layer.name: layer.cycles for layer in network.layers} == finn.expected_cycles(model)


def test_the_division_goes_into_the_scale_of_scores_that_are_averages(tmp_path):
    compiled = compiled_in(tmp_path, average="GlobalAveragePool", scores_averaged=True)
    # 4 quantisers, 3 products, the average and the label
    assert [stage.proof.tensors for stage in compiled.stages] == [0] + [9] * 7 + [2]
    assert [type(layer) for layer in compiled.golden.network.layers[-2:]] == [GlobalPool, LabelSelect]
    exported, streamlined = (compiled.stages[at].proof.scores for at in (0, 3))
    assert exported.scale == pytest.approx(0.5 / 4 / 1.7) and streamlined.scale == 1.0


def test_the_gallery_explains_the_layer(averaged):
    page = write_gallery(averaged, 100.0).read_text()
    assert "the sum of each channel over the whole map, PE channels in a cycle, in C++ (HLS)" in page
    assert "the mean of each channel over the whole map" in page


def admit(path):
    with Finn() as finn:
        model = finn.apply(finn.apply(finn.load(path), EXPORTED.steps[0]), FOLD_CONSTANTS)
        check_network(finn.graph(model))


def changed(tmp_path, change, **structure):
    model = onnx.load(str(write_network(tmp_path / "small.onnx", **FEW_BITS, **structure)))
    change(next(node for node in model.graph.node if "Pool" in node.op_type or "Mean" in node.op_type), model)
    onnx.save(model, str(tmp_path / "changed.onnx"))
    return tmp_path / "changed.onnx"


@pytest.mark.parametrize("written", ["GlobalAveragePool", "ReduceMean", "AveragePool"])
def test_the_average_of_a_whole_map_is_taken(written, tmp_path):
    admit(write_network(tmp_path / "small.onnx", **FEW_BITS, average=written))


def test_the_average_of_each_window_is_refused_by_name(tmp_path):
    def small_windows(node, model):
        node.op_type = "AveragePool"  # the max-pool of 2 x 2

    with pytest.raises(
        ArtifactError, match=r"\(AveragePool\): of averages, labd builds those of a whole square"
    ):
        admit(changed(tmp_path, small_windows))


def test_an_average_of_sums_asks_for_a_quantiser(tmp_path):
    def before_the_quantiser(node, model):
        average = next(each for each in model.graph.node if each.op_type == "GlobalAveragePool")
        conv = [each for each in model.graph.node if each.op_type == "Conv"][-1]
        average.input[0] = conv.output[0]
        at = list(model.graph.node).index(conv)
        del model.graph.node[at + 1 : list(model.graph.node).index(average)]

    with pytest.raises(ArtifactError, match=r"averages what \S+ \(Conv\) gives, no quantiser stands between"):
        admit(changed(tmp_path, before_the_quantiser, average="GlobalAveragePool"))
