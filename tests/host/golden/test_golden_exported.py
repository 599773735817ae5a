"""The golden model against the exported network's own arithmetic, on the whole MNIST test set.

The exported network is run by `labd_host.networks.exported`: the QONNX file itself in onnxruntime,
in float32 and without FINN, qonnx or Brevitas.
"""

import time

import numpy as np

from labd_host.networks import trained_onnx, trained_record
from labd_host.networks.exported import ExportedModel

FLOAT_ROUNDINGS = 32


def test_all_10000_images_have_the_exported_network_s_logits_and_class(compiled, mnist_test):
    images, labels = mnist_test
    scores = ExportedModel(trained_onnx("tfc-w1a1")).run(images)
    result = compiled.golden.run(images)
    affine = compiled.stages[0].proof.scores
    dot_products = 2 * result.logits - 64  # the accelerator counts agreeing bits
    exact = affine.scale * dot_products + affine.offset
    room = FLOAT_ROUNDINGS * np.finfo(np.float32).eps * (affine.scale * 64 + abs(affine.offset))
    assert room < affine.scale / 1000, "the next logit is a thousand times further away"
    assert np.abs(scores - exact).max() < room
    np.testing.assert_array_equal(result.outputs[0][:, 0], scores.argmax(axis=1))
    correct = int((result.outputs[0][:, 0] == labels).sum())
    assert correct / 100 == trained_record("tfc-w1a1").accuracy_percent


def test_10000_images_take_well_under_a_few_seconds(compiled, mnist_test):
    started = time.process_time()
    compiled.golden.run(mnist_test[0])
    assert time.process_time() - started < 2.0
