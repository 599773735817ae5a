"""Thresholds near a sum are moved off it, and no sum changes its sign by that, in exact arithmetic."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from labd_host.exports import QONNX_DOMAIN
from labd_host.networks.ties import MARGIN, keep_off_sums

INPUTS = 4
MEANS = np.array([2, 2 + 1e-5, 2 - 1e-5, 1.0, -0.02, 4.01, 2, 0.7], np.float32)
GAMMAS = np.array([1, 1, 1, 1, -2, 0.5, -1, -1], np.float32)
NEAR = [0, 1, 2, 4, 5, 6]


def model_of(activations="BipolarQuant", scale=1.0):
    """Signs of INPUTS values, times signs, normalised, and their signs."""

    def constant(name, values):
        return numpy_helper.from_array(np.asarray(values, np.float32), name)

    weights = np.random.default_rng(1).uniform(-1, 1, (len(MEANS), INPUTS))
    nodes = [
        helper.make_node(activations, ["x", "scale"], ["a"], domain=QONNX_DOMAIN),
        helper.make_node("BipolarQuant", ["latent", "scale"], ["w"], domain=QONNX_DOMAIN),
        helper.make_node("Gemm", ["a", "w"], ["sum"], transB=1),
        helper.make_node(
            "BatchNormalization", ["sum", "gamma", "beta", "mean", "variance"], ["n"], epsilon=0.0
        ),
        helper.make_node("BipolarQuant", ["n", "scale"], ["y"], domain=QONNX_DOMAIN),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, INPUTS])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, len(MEANS)])],
        [
            constant("scale", scale),
            constant("latent", weights),
            constant("gamma", GAMMAS),
            constant("beta", np.zeros(len(MEANS))),
            constant("mean", MEANS),
            constant("variance", np.full(len(MEANS), 4)),
        ],
    )
    return helper.make_model(graph)


def means_of(model):
    return next(numpy_helper.to_array(entry) for entry in model.graph.initializer if entry.name == "mean")


def signs(means):
    """Of each sum of INPUTS signs in each channel, exactly: gamma (sum - mean) >= 0."""
    return [
        [
            Fraction(float(gamma)) * (total - Fraction(float(mean))) >= 0
            for total in range(-INPUTS, INPUTS + 1, 2)
        ]
        for gamma, mean in zip(GAMMAS, means, strict=True)
    ]


def test_what_is_near_a_sum_is_moved_and_no_sign_changes():
    model = model_of()
    assert keep_off_sums(model) == len(NEAR)
    found = means_of(model)
    assert signs(found) == signs(MEANS)
    distance = np.abs(found - 2 * np.round(found / 2))
    assert distance.min() >= MARGIN - 1e-6
    untouched = [channel for channel in range(len(MEANS)) if channel not in NEAR]
    np.testing.assert_array_equal(found[untouched], MEANS[untouched])
    assert keep_off_sums(model) == 0, "once is enough"


@pytest.mark.parametrize("changed", [{"activations": "Quant"}, {"scale": 0.5}])
def test_other_sums_are_left_alone(changed):
    model = model_of(**changed)
    assert keep_off_sums(model) == 0
    np.testing.assert_array_equal(means_of(model), MEANS)
