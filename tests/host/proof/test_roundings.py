"""Halves, and sums that float32 puts on either side of a threshold."""

import json
from dataclasses import replace

import numpy as np
import pytest

from labd_host.dataflow.folding import Folding
from labd_host.flow import compile_network
from labd_host.flow.finn_door import Finn
from labd_host.flow.stages import EXPORTED, TIDY
from labd_host.proof.observe import Observation, ObservedPoint, Scores, observe
from labd_host.proof.proof import compare, differing_images
from labd_host.proof.roundings import roundings
from labd_shared.errors import StageMismatch
from support.small_networks import SIDE, Net, hidden, images

UNFOLDED = Folding("none", {}, {})


def compiled_in(folder, net, frames, **more):
    path, out = net.save(folder / "small.onnx"), folder / "out"
    return compile_network(path, folding=UNFOLDED, out=out, images=frames[:8], many_images=frames, **more)


def answers(folder):
    return json.loads((folder / "out" / "9-answers.json").read_text())["proof"]


def test_halves_of_power_of_two_scales_are_rounded_as_the_export_rounds_them(tmp_path):
    net = Net()
    net.pixels(scale=2 / 255)  # every odd pixel is a half
    net.flat(SIDE * SIDE)
    net.matmul(SIDE * SIDE, 8)
    net.relu(3, 0.25)
    net.matmul(8, 8)
    net.quant(net.tensor, 3, 1.0)
    net.matmul(8, 4)
    assert compiled_in(tmp_path, net, images(500)).stages[-1].name == "answers"
    assert answers(tmp_path)["undecided"] == []


def turning(pixel_step):
    """Sums, biases and a negative batch-norm whose values lie on halves where *pixel_step* is a power of two."""
    net = Net()
    net.pixels(4, pixel_step)
    net.flat(SIDE * SIDE)
    net.gemm(SIDE * SIDE, 8, net.const(np.arange(8) * pixel_step / 2))
    parts = [net.const(each) for each in ([0.5, -0.5] * 4, [0.25] * 8, [0.0] * 8, [1.0] * 8)]
    net.op("BatchNormalization", net.tensor, *parts, epsilon=0.0)
    net.quant(net.tensor, 2, 0.5)
    net.quant(net.matmul(8, 8), 1, 1.0)  # sums of 0 are +1
    net.matmul(8, 4, bits=1, scale=1.0)
    return net


def test_halves_behind_a_negative_batch_norm_and_a_bias_are_settled(tmp_path):
    compiled_in(tmp_path, turning(1 / 8), images(500))
    assert answers(tmp_path)["undecided"] == []


def test_halves_on_other_scales_are_named_with_a_count_and_may_be_ignored(tmp_path):
    with pytest.raises(StageMismatch, match=r"in \d+ of 500 images float32's rounding decides") as raised:
        compiled_in(tmp_path, turning(2 / 15), images(500))
    assert "--ignore-check halves" in raised.value.fix
    assert not (tmp_path / "out" / "network.npz").exists()
    stage = compiled_in(tmp_path, turning(2 / 15), images(500), ignored=["halves"]).stages[-1]
    assert len(stage.proof.undecided) > 30
    assert stage.proof.notes[-1].startswith("answers: --ignore-check halves: in ")
    with pytest.raises(StageMismatch, match="float32's rounding decides"):
        compiled_in(tmp_path, turning(2 / 15), images(500))


def test_thresholds_stand_midway_between_two_sums(tmp_path):
    net = hidden(Net(), bias=None, scale=0.5)
    net.matmul(8, 4)
    with Finn() as finn:
        model = finn.apply(finn.load(net.save(tmp_path / "net.onnx")), TIDY.steps[0])
        graph = finn.graph(model)
        pixels, relu = roundings(graph)
        assert pixels.source is None
        assert relu.source.op == "MatMul"
        slope, offset = relu.line()
        made = finn.graph(finn.apply(model, next(step for step in TIDY.steps if "quantisers" in step.name)))
    thresholds = [made.constants[node.inputs[1]] for node in made.nodes if node.op == "MultiThreshold"]
    sums = (thresholds[1] - offset) / slope
    np.testing.assert_allclose(sums - np.floor(sums), 0.5, atol=0.01)


def observed(sums, labels, **more):
    points = (ObservedPoint("sums", "last", np.array(sums)), ObservedPoint("label", "best", np.array(labels)))
    return Observation(points, Scores("scores", 0.5, 0.0), **more)


def test_classes_with_the_same_score_are_one_class_and_counted():
    sums = [[3, 7, 7], [1, 2, 3], [10_000_000, 10_000_001, 0]]
    ours, theirs = observed(sums, [[1], [2], [0]]), observed(sums, [[2], [2], [1]])
    assert compare("b", ours, "a", theirs).ties == 2
    assert differing_images(ours, theirs) == ()
    wrong = observed(sums, [[2], [1], [1]])
    with pytest.raises(StageMismatch, match="label of best differ in 1 of 3 values, first at image 1"):
        compare("b", ours, "a", wrong)


def test_an_image_that_a_rounding_decides_is_left_out_and_named():
    ours = observed([[1, 2], [5, 4]], [[1], [0]])
    theirs = observed([[1, 2], [4, 5]], [[1], [1]], undecided=(1,))
    assert compare("b", ours, "a", theirs).undecided == (1,)
    with pytest.raises(StageMismatch, match="sums of last differ"):
        compare("b", ours, "a", replace(theirs, undecided=(0,)))


def test_a_level_that_float32_moved_is_found(tmp_path):
    net = hidden(Net(), bias=None)
    net.matmul(8, 4)
    with Finn() as finn:
        model = finn.apply(finn.load(net.save(tmp_path / "net.onnx")), EXPORTED.steps[0])
        graph = finn.graph(model)
        frames = images(4).transpose(0, 3, 1, 2) / np.float32(255)
        trace = finn.run(model, frames)
    assert observe(graph, trace).undecided == ()
    quantiser = roundings(graph)[1].quantiser
    values = {name: value.copy() for name, value in trace.values.items()}
    level = values[quantiser.outputs[0]]
    level[2, 3] += 0.5 if level[2, 3] < 1 else -0.5
    product = graph.producer(graph.output)
    values[graph.output] = level @ trace.constants[product.inputs[1]]
    assert observe(graph, replace(trace, values=values)).undecided == (2,)
