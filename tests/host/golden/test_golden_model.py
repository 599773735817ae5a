"""The golden model against a slow and obvious one, over small random networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labd_host.dataflow.layers import DataflowGraph, LabelSelect, Mvau, Thresholding
from labd_host.golden.compiled import MOST_FRAMES
from labd_host.golden.golden_model import GoldenModel
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import DatatypeError, ShapeError, UsageError
from labd_shared.tensors import make_tensor
from support.slow_golden import slow

FORMS = ["compiled", "numpy"]
EXTREME = st.sampled_from([-(2**40), -1, 0, 1, 2**33, 2**40])


def tensor(name, datatype, values, dma):
    return make_tensor(name, datatype, (1, values), (1, values, 1), "NC", dma)


@st.composite
def networks(draw):
    """A thresholding layer, matrix layers of any width, and a label; bits or wider integers."""
    vectors = draw(st.integers(1, 3))
    width = draw(st.integers(1, 19))
    steps = draw(st.sampled_from([1, 3]))
    between = "BINARY" if steps == 1 else draw(st.sampled_from(["UINT2", "INT2"]))
    offset = -2 if between == "INT2" else 0
    rows = draw(st.sampled_from([1, width]))
    threshold = st.one_of(st.integers(-2, 258), EXTREME)
    arrays = {"t.thresholds": sorted_rows(draw, threshold, rows, steps)}
    layers = [Thresholding("t", width, vectors, 1, steps, "UINT8", between, offset)]
    for index in range(draw(st.integers(1, 3))):
        last_values = layers[-1].out_values
        flat = vectors == 1 or index > 0
        mw = last_values if flat else width
        mh = draw(st.integers(1, 11))
        kind = between if index == 0 else "BINARY"
        xnor = kind == "BINARY"
        weight = "BINARY" if xnor else draw(st.sampled_from(["BIPOLAR", "INT4"]))
        choices = {"BINARY": [0, 1], "BIPOLAR": [-1, 1], "INT4": list(range(-8, 8))}[weight]
        bits = draw(st.lists(st.sampled_from(choices), min_size=mw * mh, max_size=mw * mh))
        arrays[f"m{index}.weights"] = np.array(bits, dtype=np.int64).reshape(mw, mh)
        bound = st.one_of(st.integers(-mw - 1, mw + 2), EXTREME)
        arrays[f"m{index}.thresholds"] = sorted_rows(draw, bound, draw(st.sampled_from([1, mh])), 1)
        layers.append(
            Mvau(f"m{index}", mw, mh, 1 if flat else vectors, 1, 1, 1, xnor, kind, weight, "BINARY", 0)
        )
    mw = layers[-1].out_values
    labels = draw(st.integers(1, 6))
    arrays["last.weights"] = np.array(
        draw(st.lists(st.integers(0, 1), min_size=mw * labels, max_size=mw * labels)), dtype=np.int64
    ).reshape(mw, labels)
    layers.append(Mvau("last", mw, labels, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0))
    layers.append(LabelSelect("label", labels, 1, "UINT32", "UINT8"))
    return DataflowGraph(
        "random",
        tuple(layers),
        (tensor("in", "UINT8", width * vectors, "idma0"),),
        (tensor("out", "UINT8", 1, "odma0"),),
        arrays,
    )


def sorted_rows(draw, element, rows, steps):
    flat = draw(st.lists(element, min_size=rows * steps, max_size=rows * steps))
    return np.sort(np.array(flat, dtype=np.int64).reshape(rows, steps), axis=1)


@settings(max_examples=150, deadline=None)
@given(networks(), st.data())
def test_every_tensor_of_every_frame_equals_the_slow_model(network, data):
    values = network.layers[0].in_values
    frames = data.draw(st.lists(st.binary(min_size=values, max_size=values), min_size=1, max_size=4))
    images = np.array([list(frame) for frame in frames], dtype=np.uint8)
    for form in FORMS:
        model = GoldenModel(network, form=form)
        whole, traced = model.run(images), model.run(images, intermediates=True)
        for index, image in enumerate(images):
            expected = slow(network, image)
            assert {name: value[index].tolist() for name, value in traced.intermediates.items()} == expected
            for result in (whole, traced):
                assert result.logits[index].tolist() == expected["last"]
                assert result.outputs[0][index].tolist() == expected["label"]


@settings(max_examples=60, deadline=None)
@given(network=networks())
def test_what_is_saved_computes_the_same_and_saves_to_the_same_bytes(tmp_path_factory, network):
    folder = tmp_path_factory.mktemp("saved")
    golden = GoldenModel(network)
    golden.save(folder / "a.npz")
    again = GoldenModel.load(folder / "a.npz")
    again.save(folder / "b.npz")
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    assert again.network.layers == network.layers
    assert (again.inputs, again.outputs) == (golden.inputs, golden.outputs)
    images = np.random.default_rng(0).integers(0, 256, (5, network.layers[0].in_values), dtype=np.uint8)
    ours, theirs = golden.run(images, intermediates=True), again.run(images, intermediates=True)
    for name, value in ours.intermediates.items():
        np.testing.assert_array_equal(value, theirs.intermediates[name], err_msg=name)


def last_layer(weights):
    """One frame of bits in, the scores and the label out."""
    mw, mh = weights.shape
    layers = (
        Thresholding("t", mw, 1, 1, 1, "UINT8", "BINARY", 0),
        Mvau("last", mw, mh, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0),
        LabelSelect("label", mh, 1, "UINT32", "UINT8"),
    )
    return DataflowGraph(
        "small",
        layers,
        (tensor("in", "UINT8", mw, "idma0"),),
        (tensor("out", "UINT8", 1, "odma0"),),
        {"t.thresholds": np.array([[128]]), "last.weights": weights},
    )


def test_equal_scores_go_to_the_lower_label():
    golden = GoldenModel(last_layer(np.array([[0, 1, 1, 0], [1, 0, 0, 1]])))
    result = golden.run(np.array([[255, 0], [0, 255], [255, 255]], dtype=np.uint8))
    assert result.logits.tolist() == [[0, 2, 2, 0], [2, 0, 0, 2], [1, 1, 1, 1]]
    assert result.outputs[0].tolist() == [[1], [0], [0]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frames", [0, 1, 2, MOST_FRAMES - 1, MOST_FRAMES, MOST_FRAMES + 1])
def test_any_number_of_frames_gives_what_each_frame_alone_gives(frames, form):
    rng = np.random.default_rng(1)
    golden = GoldenModel(last_layer(rng.integers(0, 2, (13, 5))), form=form)
    images = rng.integers(0, 256, (frames, 13), dtype=np.uint8)
    result = golden.run(images)
    assert result.outputs[0].shape == (frames, 1)
    assert result.logits.shape == (frames, 5)
    for index in range(0, frames, 97):
        alone = golden.run(images[index : index + 1])
        np.testing.assert_array_equal(alone.logits[0], result.logits[index])


@pytest.mark.parametrize("form", FORMS)
def test_no_frames_have_tensors_of_every_layer_all_the_same(form):
    golden = GoldenModel(last_layer(np.eye(4, dtype=np.int64)), form=form)
    found = golden.run(np.zeros((0, 4), np.uint8), intermediates=True)
    shapes = {name: value.shape for name, value in found.intermediates.items()}
    assert shapes == {"t": (0, 4), "last": (0, 4), "label": (0, 1)}
    assert (found.logits.shape, found.outputs[0].shape) == ((0, 4), (0, 1))


def test_images_may_keep_their_own_axes():
    golden = GoldenModel(last_layer(np.eye(4, dtype=np.int64)))
    images = np.arange(0, 192, 8, dtype=np.uint8).reshape(6, 2, 2, 1)
    np.testing.assert_array_equal(golden.run(images).logits, golden.run(images.reshape(6, 4)).logits)


@pytest.mark.parametrize("form", FORMS)
def test_sums_beyond_the_exact_range_of_float32_stay_exact(form):
    mw = 70000
    weights = np.full((mw, 2), -8, dtype=np.int64)
    weights[:, 1] = 7
    layers = (Mvau("m", mw, 2, 1, 1, 1, 0, False, "UINT8", "INT4", "INT32", 0),)
    network = DataflowGraph(
        "wide",
        layers,
        (tensor("in", "UINT8", mw, "idma0"),),
        (tensor("out", "INT32", 2, "odma0"),),
        {"m.weights": weights},
    )
    images = np.full((1, mw), 255, dtype=np.uint8)
    images[0, 0] = 254
    result = GoldenModel(network, form=form).run(images)
    total = 255 * mw - 1
    assert total * 7 > 2**24
    assert result.logits.tolist() == [[-8 * total, 7 * total]]
    assert result.outputs[0].tolist() == [[-8 * total, 7 * total]]
    assert result.outputs[0].dtype == np.int32


def test_sums_beyond_every_exact_range_are_refused():
    layers = (Mvau("m", 1, 1, 1, 1, 1, 0, False, "UINT32", "INT32", "INT32", 0),)
    network = DataflowGraph(
        "huge",
        layers,
        (tensor("in", "UINT32", 1, "idma0"),),
        (tensor("out", "INT32", 1, "odma0"),),
        {"m.weights": np.array([[-(2**31)]])},
    )
    with pytest.raises(UsageError, match=r"the sums of m reach \d+, .* 2\^53"):
        GoldenModel(network)


def test_frames_of_the_wrong_size_are_refused_with_both_shapes():
    golden = GoldenModel(last_layer(np.eye(4, dtype=np.int64)))
    with pytest.raises(ShapeError, match=r"the images are \(2, 5\), the network takes \(N, 4\)"):
        golden.run(np.zeros((2, 5), dtype=np.uint8))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((1, 4), 256, dtype=np.int32), "the images reach from 256 to 256, UINT8 holds 0 to 255"),
        (np.full((1, 4), -1, dtype=np.int8), "the images reach from -1 to -1, UINT8 holds 0 to 255"),
        (np.full((1, 4), 0.5, dtype=np.float32), "the images are float32, the network takes integers"),
    ],
)
def test_values_out_of_range_are_refused(images, message):
    golden = GoldenModel(last_layer(np.eye(4, dtype=np.int64)))
    with pytest.raises(DatatypeError, match=message):
        golden.run(images)


def test_outputs_have_the_smallest_type_that_holds_their_datatype():
    golden = GoldenModel(last_layer(np.eye(4, dtype=np.int64)))
    assert golden.run(np.zeros((1, 4), dtype=np.uint8)).outputs[0].dtype == np.uint8
    assert parse_datatype(golden.outputs[0].datatype.name).bits == 8
