"""Scales and offsets of the scores: one for all classes, or refused before the first stage by node."""

import numpy as np
import pytest

from labd_host.dataflow.folding import Folding
from labd_host.flow import compile_network
from labd_shared.errors import ArtifactError
from support.small_networks import Net, hidden, images

UNFOLDED = Folding("none", {}, {})


def compiled_in(folder, net, **saved):
    path, frames = net.save(folder / "small.onnx", **saved), images(100)
    return compile_network(path, folding=UNFOLDED, out=folder / "out", images=frames[:4], many_images=frames)


def with_bias(net):
    net.gemm(8, 4, net.const([0.5, -1.0, 0.0, 2.0]))


def with_quantised_bias(net):
    behind = net.tensor
    bias = net.quant(net.const([0.5, -1.0, 0.0, 2.0]), 8, 0.25)
    net.tensor = behind
    net.gemm(8, 4, bias)


def with_add(net):
    net.op("Add", net.matmul(8, 4), net.const([0.5, -1.0, 0.0, 2.0]))


def with_scales(net):
    net.matmul(8, 4, scale=[[0.5, 0.25, 0.5, 0.5]])


def with_mul(net):
    net.op("Mul", net.matmul(8, 4), net.const([[1, 2, 1, 1]]))


def with_norm(net):
    parts = [net.const(each) for each in ([1, 1, 1, 2], [0.0] * 4, [0.0] * 4, [1.0] * 4)]
    net.op("BatchNormalization", net.matmul(8, 4), *parts)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (with_bias, r"Gemm_\d+ \(Gemm\) gives each class an offset of its own, -1 to 2"),
        (with_quantised_bias, r"Gemm_\d+ \(Gemm\) gives each class an offset"),
        (with_add, r"Add_\d+ \(Add\) gives each class an offset"),
        (with_scales, r"MatMul_\d+ \(MatMul\) gives each class a scale of its own, 0.25 to 0.5"),
        (with_mul, r"Mul_\d+ \(Mul\) gives each class a scale"),
        (with_norm, r"BatchNormalization_\d+ \(BatchNormalization\) gives each class a scale"),
    ],
)
def test_a_class_with_a_scale_or_an_offset_of_its_own_is_refused_before_the_first_stage(last, said, tmp_path):
    net = hidden(Net())
    last(net)
    with pytest.raises(ArtifactError, match=said) as raised:
        compiled_in(tmp_path, net)
    assert "QuantIdentity" in raised.value.fix
    assert not list((tmp_path / "out").glob("*.onnx"))


def test_a_quantiser_behind_the_scores_takes_the_offsets_as_the_refusal_advises(tmp_path):
    net = hidden(Net())
    with_bias(net)
    net.quant(net.tensor, 8, 0.25)
    assert compiled_in(tmp_path, net).stages[-1].name == "answers"


def test_the_same_offset_and_scale_for_every_class_stay(tmp_path):
    net = hidden(Net())
    net.gemm(8, 4, net.const([0.7] * 4), scale=np.full((4, 1), 0.5))
    net.op("Mul", net.tensor, net.const(np.full((1, 4), 1.5)))
    compiled = compiled_in(tmp_path, net)
    assert compiled.stages[0].proof.scores.offset == pytest.approx(1.05)
