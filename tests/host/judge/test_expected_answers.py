"""FINN's input.npy and expected_output.npy against a golden model: layouts, scales, classes and scores."""

import numpy as np
import pytest

from labd_host.bundles.bundle_writer import golden_model
from labd_host.judge.expected_answers import check_answers
from labd_shared.bundle import open_bundle
from labd_shared.errors import ArtifactError, GoldenMismatch
from support.paths import SHIPPED_BUNDLE

HOSTILE = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 784), }".ljust(117)
)


@pytest.fixture(scope="module")
def golden():
    bundle = open_bundle(SHIPPED_BUNDLE)
    return golden_model(bundle.folder, bundle.manifest.files)


@pytest.fixture(scope="module")
def frames(golden):
    rng = np.random.default_rng(3)
    images = (rng.random((6, 28, 28, 1)) < rng.random((6, 1, 1, 1))).astype(np.uint8) * 255
    return images, golden.run(images).outputs[0].reshape(-1).astype(np.int64)


def saved(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder / "inputs.npy", folder / "expected.npy"


@pytest.mark.parametrize("form", ["uint8", "channels first", "flat", "divided by 255"])
def test_frames_are_read_in_every_form_that_finn_s_users_have(golden, frames, tmp_path, form):
    images, classes = frames
    given = {
        "uint8": images,
        "channels first": images.transpose(0, 3, 1, 2).astype(np.float32),
        "flat": images.reshape(6, 784).astype(np.int64),
        "divided by 255": (images / 255).astype(np.float32) * 1.0,
    }[form]
    if form == "divided by 255":
        given[0, 0, 0, 0] = np.float32(3 / 255)
        images = images.copy()
        images[0, 0, 0, 0] = 3
        classes = golden.run(images).outputs[0].reshape(-1).astype(np.int64)
    assert check_answers(golden, *saved(tmp_path, inputs=given, expected=classes)) == 6


@pytest.mark.parametrize("form", ["(n,)", "(n, 1) as floats", "scores"])
def test_answers_are_classes_or_scores(golden, frames, tmp_path, form):
    images, classes = frames
    scores = golden.run(images).logits * 0.5
    expected = {"(n,)": classes, "(n, 1) as floats": classes[:, None].astype(np.float32), "scores": scores}[
        form
    ]
    assert check_answers(golden, *saved(tmp_path, inputs=images, expected=expected)) == 6


def test_another_answer_is_named_with_both_classes(golden, frames, tmp_path):
    images, classes = frames
    wrong = classes.copy()
    wrong[2] = (wrong[2] + 1) % 10
    with pytest.raises(
        GoldenMismatch, match=rf"1 of 6 answers differ .* frame 2: {classes[2]} where {wrong[2]} was expected"
    ):
        check_answers(golden, *saved(tmp_path, inputs=images, expected=wrong))


@pytest.mark.parametrize(
    ("inputs", "expected", "message"),
    [
        (np.zeros((2, 3, 28, 28)), np.zeros(2, int), r"frames of \(3, 28, 28\), the network takes \(784,\)"),
        (np.full((2, 784), 0.3), np.zeros(2, int), "values from 0.3 to 0.3, the network takes UINT8"),
        (np.full((2, 784), 256), np.zeros(2, int), "values from 256 to 256"),
        (np.full((2, 784), np.nan), np.zeros(2, int), "not finite"),
        (np.zeros((2, 784)), np.zeros(3, int), "has 2 frames, .*expected.npy 3 answers"),
        (np.zeros((0, 784)), np.zeros(0, int), "has 0 frames"),
        (np.zeros((2, 784)), np.full(2, 0.5), "not a class"),
        (np.array(["x"]), np.zeros(1, int), "not hold an array of numbers"),
    ],
)
def test_files_that_do_not_fit_are_refused_with_both_shapes(golden, tmp_path, inputs, expected, message):
    with pytest.raises(ArtifactError, match=message):
        check_answers(golden, *saved(tmp_path, inputs=inputs, expected=expected))


@pytest.mark.parametrize("content", [b"", b"noise", HOSTILE, b"PK\x03\x04"])
def test_a_file_that_is_no_array_is_refused(golden, tmp_path, content):
    (tmp_path / "inputs.npy").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"inputs\.npy"):
        check_answers(golden, tmp_path / "inputs.npy", tmp_path / "expected.npy")


def test_objects_are_never_unpickled(golden, tmp_path):
    np.save(tmp_path / "inputs.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match=r"inputs\.npy cannot be read"):
        check_answers(golden, tmp_path / "inputs.npy", tmp_path / "expected.npy")
