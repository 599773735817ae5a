"""Nearest upsampling: every place and rule through every stage, and what is refused."""

import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labd_host.dataflow.folding import Folding, check_folding
from labd_host.dataflow.layers import Upsample
from labd_host.flow import compile_network
from labd_host.flow.admission import check_network
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_host.flow.gallery import write_gallery
from labd_host.flow.onnx_graph import read_graph
from labd_host.flow.upsampling import upsampled
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError
from support.convolutional import images
from support.foldings import random_folding
from support.upsampled import write_upsampled

FORMS = {
    "of pixels": {"place": "first", "scales": (2, 1)},
    "of sums": {"place": "sums"},
    "behind a pool, told sizes": {"place": "pooled", "scales": (3, 2), "sizes": True},
    "before a pool": {"place": "before a pool", "scales": (2, 4)},
    "last": {"place": "last"},
    "twice": {"place": "twice", "scales": (2, 1)},
    "of signs": {"bits": 1, "act_bits": 1},
    "by centres": {"rule": {}},
}


def compiled_in(folder, **structure):
    return compile_network(
        write_upsampled(folder / "small.onnx", **structure),
        folding=Folding("none", {}, {}),
        out=folder / "out",
        images=images(2),
        many_images=images(50, seed=6),
    )


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    return compiled_in(tmp_path_factory.mktemp("larger"))


def repeats(compiled):
    return [layer for layer in compiled.golden.network.layers if isinstance(layer, Upsample)]


def test_an_upsampling_between_convolutions_becomes_a_layer(larger):
    # 3 quantisers, 3 products and the label, in every stage
    assert [stage.proof.tensors for stage in larger.stages] == [0] + [7] * 7 + [2]
    assert repeats(larger) == [Upsample("UpsampleNearestNeighbour_hls_0", 4, 5, 5, 2, 2, 1, "UINT3", "UINT3")]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_is_proven(form, tmp_path):
    compiled = compiled_in(tmp_path, **FORMS[form])
    assert all(stage.proof.tensors > 1 for stage in compiled.stages[1:])
    scales = FORMS[form].get("scales", (2, 2))
    count = 2 if form == "twice" else 1
    assert [(layer.scale_h, layer.scale_w) for layer in repeats(compiled)] == [scales] * count


def test_the_golden_model_scores_like_the_export(larger, tmp_path):
    many = images(200, seed=8)
    scores = ExportedModel(write_upsampled(tmp_path / "again.onnx")).run(many)
    np.testing.assert_array_equal(larger.golden.run(many).outputs[0][:, 0], scores.argmax(axis=1))


def test_it_takes_the_cycles_that_finn_expects_in_any_legal_folding(larger):
    draw = random.Random(20261130)
    path = next(stage.path for stage in larger.stages if stage.name == "folded")
    with Finn() as finn:
        model = finn.load(path)
        for _ in range(5):
            settings = random_folding(draw, larger.golden.network.layers)
            check_folding(larger.golden.network.layers, settings)
            finn.set_attributes(model, settings)
            network = describe(finn.graph(model), "larger", finn.edges(model))
            assert {layer.name: layer.cycles for layer in network.layers} == finn.expected_cycles(model)


def test_the_gallery_explains_the_layer(larger):
    page = write_gallery(larger, 100.0).read_text()
    assert "each pixel several times, along and down, in C++ (HLS)" in page


def resize(shape, op="Resize", opset=19, **said):
    """A graph of one *op* of a tensor of *shape*; *said*: its attributes, and scales or sizes."""
    scales, sizes = said.pop("scales", []), said.pop("sizes", None)
    constants = [numpy_helper.from_array(np.array(scales, np.float32), "scales")]
    inputs = ["x", "scales"] if op == "Upsample" or opset < 11 else ["x", "", "scales"]
    if sizes is not None:
        constants.append(numpy_helper.from_array(np.array(sizes, np.int64), "sizes"))
        inputs = ["x", "", "", "sizes"]
    node = helper.make_node(op, inputs, ["y"], "larger", **{"mode": "nearest", **said})
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def answer(model, tmp_path):
    onnx.save(model, str(tmp_path / "one.onnx"))
    graph = read_graph(tmp_path / "one.onnx")
    return upsampled(graph, graph.nodes[0])


RULES = [
    {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    for coordinates in (
        "half_pixel",
        "pytorch_half_pixel",
        "asymmetric",
        "align_corners",
        "half_pixel_symmetric",
    )
    for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_rule_is_taken_where_onnxruntime_repeats_pixels_by_it(scale, tmp_path):
    import onnxruntime

    frame = np.arange(10, dtype=np.float32).reshape(1, 1, 2, 5)
    repeated = frame.repeat(scale, axis=2).repeat(scale, axis=3)
    taken = []
    for rule in RULES:
        model = resize((1, 1, 2, 5), scales=[1, 1, scale, scale], **rule)
        found = answer(model, tmp_path)
        (theirs,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": frame})
        assert (found == (scale, scale)) == np.array_equal(theirs, repeated), rule
        taken.append(found == (scale, scale))
    assert 6 <= sum(taken) < len(RULES)


def test_scales_and_sizes_are_read_in_every_generation(tmp_path):
    shape = (1, 3, 4, 6)
    assert answer(resize(shape, "Upsample", opset=9, scales=[1, 1, 2, 3]), tmp_path) == (2, 3)
    assert answer(resize(shape, opset=10, scales=[1, 1, 2, 3]), tmp_path) == (2, 3)
    assert answer(resize(shape, sizes=[1, 3, 8, 6]), tmp_path) == (2, 1)
    assert answer(resize(shape, axes=[2, 3], scales=[2, 2]), tmp_path) == (2, 2)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"scales": [1, 1, 2, 2], "mode": "linear"}, "its mode is linear"),
        ({"scales": [1, 1, 1.5, 2]}, r"it makes 6 pixels of 4 by the rule half_pixel and round_prefer_floor"),
        ({"scales": [1, 1, 0.5, 0.5]}, "it makes 2 pixels of 4"),
        ({"scales": [1, 2, 1, 1]}, "it resizes images or channels"),
        (
            {"scales": [1, 1, 3, 3], "coordinate_transformation_mode": "align_corners"},
            "by the rule align_corners",
        ),
        (
            {"scales": [1, 1, 2, 2], "coordinate_transformation_mode": "tf_crop_and_resize"},
            "tf_crop_and_resize",
        ),
    ],
)
def test_what_repeats_no_pixels_is_refused_by_name(said, reason, tmp_path):
    onnx.save(resize((1, 3, 4, 4), **said), str(tmp_path / "one.onnx"))
    with pytest.raises(ArtifactError, match=rf"there is no hardware for larger \(Resize\): .*{reason}"):
        check_network(read_graph(tmp_path / "one.onnx"))


def test_a_tensor_that_is_no_map_is_not_resized(tmp_path):
    assert "feature maps of 4 axes" in answer(resize((1, 3, 4), scales=[1, 1, 2]), tmp_path)
