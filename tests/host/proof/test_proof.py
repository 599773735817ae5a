"""A stage that changes a result is caught, and the layer is named."""

import numpy as np
import pytest

from labd_host.dataflow.layers import DataflowGraph
from labd_host.flow.finn_door import Finn
from labd_host.golden.golden_model import GoldenModel
from labd_host.proof.observe import Observation, ObservedPoint, observe, observe_golden
from labd_host.proof.proof import compare
from labd_shared.errors import StageMismatch


@pytest.fixture(scope="module")
def finn():
    with Finn() as opened:
        yield opened


@pytest.fixture(scope="module")
def observed(finn, compiled, proof_images):
    """Stage name -> what it computes; the frames of the stages that take pixels."""

    def look(name, change=lambda model: None):
        model = finn.load(next(stage.path for stage in compiled.stages if stage.name == name))
        change(model)
        graph = finn.graph(model)
        frames = proof_images.transpose(0, 3, 1, 2).reshape(-1, *graph.shapes[graph.input][1:])
        if graph.datatypes[graph.input] != "UINT8":
            frames = frames.astype(np.float32) / np.float32(255)
        return observe(graph, finn.run(model, frames))

    return look


@pytest.fixture(scope="module")
def streamlined(observed):
    return observed("streamlined")


def flip(name, index, by=None):
    """A change of one element of a parameter: a bit flipped, or a number added."""

    def change(model):
        value = np.array(model.get_initializer(name))
        value[index] = 1 - value[index] if by is None else value[index] + by
        model.set_initializer(name, value)

    return change


@pytest.mark.parametrize(
    ("parameter", "index", "by", "layer", "kind"),
    [
        ("MVAU_0_param0", (400, 3), None, "MVAU_0", "sums"),
        ("MVAU_1_param0", (5, 60), None, "MVAU_1", "sums"),
        ("MVAU_3_param0", (63, 9), None, "MVAU_3", "sums"),
        ("MVAU_2_param1", (7, 0), 1000, "MVAU_2", "levels"),
        ("Thresholding_0_param0", (0, 0), 100, "Thresholding_0", "levels"),
    ],
)
def test_one_flipped_weight_or_moved_threshold_is_caught_in_the_hardware_stage(
    observed, streamlined, parameter, index, by, layer, kind
):
    broken = observed("hardware", flip(parameter, index, by))
    with pytest.raises(
        StageMismatch, match=f"stage hardware .* stage streamlined: {kind} of {layer} differ"
    ) as caught:
        compare("hardware", broken, "streamlined", streamlined)
    facts = caught.value.facts
    assert (facts["stage"], facts["layer"], facts["kind"]) == ("hardware", layer, kind)
    assert 0 < facts["mismatches"] <= facts["elements"]


def test_one_flipped_weight_is_caught_in_the_streamlined_stage_where_signs_may_turn(observed):
    before = observed("prepost")
    broken = observed("streamlined", flip("XnorPopcountMatMul_2_param0", (0, 0)))
    with pytest.raises(StageMismatch, match="sums of XnorPopcountMatMul_2 differ"):
        compare("streamlined", broken, "prepost", before, moves_scales=True)


def rescale(last_div_by):
    """A change of the constant of the last division, behind the logits."""

    def change(model):
        node = next(node for node in reversed(model.graph.node) if node.op_type == "Div")
        old = np.array(model.get_initializer(node.input[1]))
        model.set_initializer(node.input[1], (old * last_div_by).astype(np.float32))

    return change


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (np.float32(2), r"the scores were 0\.\d+ \* logit .* and are 0\.\d+ \* logit"),
        (np.linspace(1, 2, 10), "the scores were .* and are no such function of them"),
    ],
    ids=["one scale", "a scale for each class"],
)
def test_a_scale_that_changes_behind_the_logits_is_caught(observed, factor, message):
    with pytest.raises(StageMismatch, match=message) as caught:
        compare("prepost", observed("prepost", rescale(factor)), "tidy", observed("tidy"))
    assert caught.value.facts["kind"] == "scores"


def test_one_flipped_weight_is_caught_in_the_golden_model(observed, compiled, proof_images):
    before = observed("folded")
    network = compiled.golden.network
    weights = network.arrays["MVAU_hls_1.weights"].copy()
    weights[10, 20] = 1 - weights[10, 20]
    arrays = {**network.arrays, "MVAU_hls_1.weights": weights}
    broken = DataflowGraph(network.name, network.layers, network.inputs, network.outputs, arrays)
    result = GoldenModel(broken).run(proof_images, intermediates=True)
    with pytest.raises(
        StageMismatch, match="stage golden .* stage folded: sums of MVAU_hls_1 differ in 16 of 1024"
    ):
        compare("golden", observe_golden(broken, result), "folded", before)


def points(*kinds_and_values):
    return Observation(
        tuple(
            ObservedPoint(kind, f"{kind}_{i}", np.array(values))
            for i, (kind, values) in enumerate(kinds_and_values)
        )
    )


def test_a_channel_may_turn_its_sign_only_as_a_whole_and_only_where_allowed():
    before = points(("sums", [[1, 2], [3, 4]]), ("label", [[0], [1]]))
    turned = points(("sums", [[-1, 2], [-3, 4]]), ("label", [[0], [1]]))
    half = points(("sums", [[-1, 2], [3, 4]]), ("label", [[0], [1]]))
    assert compare("b", turned, "a", before, moves_scales=True).elements == 6
    with pytest.raises(
        StageMismatch,
        match="sums of sums_0 differ in 2 of 4 values, first at image 0, element 0: -1 where 1 was",
    ):
        compare("b", turned, "a", before)
    with pytest.raises(StageMismatch, match="sums of sums_0 differ in 1 of 4 values"):
        compare("b", half, "a", before, moves_scales=True)


def test_a_label_alone_that_changes_is_caught():
    before = points(("sums", [[1, 2]]), ("label", [[1]]))
    wrong = points(("sums", [[1, 2]]), ("label", [[0]]))
    with pytest.raises(StageMismatch, match="label of label_1 differ in 1 of 1 values"):
        compare("b", wrong, "a", before)


def test_a_tensor_too_few_is_caught():
    before = points(("levels", [[1]]), ("levels", [[1]]), ("label", [[1]]))
    fewer = points(("levels", [[1]]), ("label", [[1]]))
    with pytest.raises(StageMismatch, match="stage b has 1 tensors of levels, stage a has 2"):
        compare("b", fewer, "a", before)


def test_a_tensor_of_another_width_is_caught():
    before = points(("levels", [[1, 0]]), ("label", [[1]]))
    wider = points(("levels", [[1, 0, 1]]), ("label", [[1]]))
    with pytest.raises(StageMismatch, match="levels of levels_0 are 3 values a frame, there they are 2"):
        compare("b", wider, "a", before)
