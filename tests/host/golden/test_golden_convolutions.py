"""Windows, padding, pools and long ladders of thresholds, against a slow and obvious reference."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labd_host.dataflow.layers import DataflowGraph, MaxPool, Mvau, Padding, SlidingWindow, Thresholding
from labd_host.golden.golden_model import GoldenModel
from labd_host.golden.plain import FEW_STEPS
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import ArtifactError
from labd_shared.tensors import make_tensor
from support.slow_golden import slow

FORMS = ["compiled", "numpy"]
WIDTHS = st.one_of(st.integers(1, 5), st.sampled_from([31, 32, 33, 65]))  # around whole words of bits, too


@st.composite
def networks(draw):
    """Thresholding, padding, a convolution, a pool, a convolution; of 1 to 4 bits."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width, channels = draw(st.integers(3, 7)), draw(st.integers(3, 7)), draw(WIDTHS)
    bits = draw(st.integers(1, 4))
    activation = "BINARY" if bits == 1 else f"UINT{bits}"
    weight = draw(st.sampled_from(["BIPOLAR", "INT2", "INT4"]))
    first = draw(st.sampled_from([("INT8", 255, -128), (activation, 2**bits - 1, 0)]))
    rows = draw(st.sampled_from([1, channels]))
    layers = [Thresholding("t", channels, height * width, 1, first[1], "UINT8", first[0], first[2])]
    arrays = {"t.thresholds": np.sort(rng.integers(-3, 260, (rows, first[1])), axis=1)}
    if draw(st.booleans()):
        pads = [draw(st.integers(0, 2)) for _ in range(4)]
        layers.append(Padding("p", channels, height, width, *pads, 1, first[0], first[0]))
        height, width = layers[-1].out_height, layers[-1].out_width
    height, width, channels = convolution(
        draw, rng, layers, arrays, "c", (height, width, channels), weight, activation
    )
    if min(height, width) >= 2:
        pool = SlidingWindow(
            "w", channels, height, width, 2, 2, 2, 2, 1, 1, True, False, channels, activation, activation
        )
        vectors = pool.out_height * pool.out_width
        layers += [pool, MaxPool("x", channels, vectors, 4, channels, activation, activation)]
        height, width = pool.out_height, pool.out_width
    height, width, channels = convolution(
        draw, rng, layers, arrays, "d", (height, width, channels), weight, activation
    )
    inputs = layers[0].in_values
    outputs = layers[-1].out_values
    return DataflowGraph(
        "random",
        tuple(layers),
        (make_tensor("in", "UINT8", (1, inputs), (1, inputs, 1), "NC", "idma0"),),
        (make_tensor("out", activation, (1, outputs), (1, outputs, 1), "NC", "odma0"),),
        arrays,
    )


def convolution(draw, rng, layers, arrays, name, shape, weight, activation):
    """Append a window and its product; the shape after."""
    height, width, channels = shape
    kernel_h, kernel_w = draw(st.integers(1, min(5, height))), draw(st.integers(1, min(5, width)))
    strides = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    dilation = 2 if 2 * (kernel_h - 1) < height and 2 * (kernel_w - 1) < width and draw(st.booleans()) else 1
    kind = layers[-1].output
    slide = SlidingWindow(
        f"{name}w",
        channels,
        height,
        width,
        kernel_h,
        kernel_w,
        *strides,
        dilation,
        dilation,
        False,
        False,
        1,
        kind,
        kind,
    )
    mw, mh = kernel_h * kernel_w * channels, draw(WIDTHS)
    xnor = kind == "BINARY"
    weight = "BINARY" if xnor else weight
    low, high = parse_datatype(weight).low, parse_datatype(weight).high
    drawn = rng.integers(low, high + 1, (mw, mh))
    arrays[f"{name}.weights"] = np.where(drawn == 0, 1, drawn) if weight == "BIPOLAR" else drawn
    steps = parse_datatype(activation).high
    reach = mw if xnor else mw * max(abs(low), high) * max(1, parse_datatype(kind).high // 4)
    arrays[f"{name}.thresholds"] = np.sort(rng.integers(-reach - 1, reach + 2, (mh, steps)), axis=1)
    vectors = slide.out_height * slide.out_width
    layers += [slide, Mvau(name, mw, mh, vectors, 1, 1, steps, xnor, kind, weight, activation, 0)]
    return slide.out_height, slide.out_width, mh


@settings(max_examples=80, deadline=None)
@given(network=networks(), seed=st.integers(0, 2**32 - 1))
def test_every_layer_gives_what_its_definition_says(network, seed, tmp_path_factory):
    first = network.layers[0]
    shape = next(layer for layer in network.layers[1:] if isinstance(layer, SlidingWindow | Padding))
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, shape.height, shape.width, first.channels)).astype(np.uint8)
    path = tmp_path_factory.mktemp("network") / "network.npz"
    GoldenModel(network).save(path)
    wanted = [slow(network, image) for image in images]
    for form in FORMS:
        model = GoldenModel.load(path, form=form)
        found = model.run(images, intermediates=True).intermediates
        assert list(found) == list(wanted[0]), "the same tensors in the same order"
        for name, values in found.items():
            assert values.tolist() == [frame[name] for frame in wanted], name
        last = found[network.layers[-1].name]
        np.testing.assert_array_equal(model.run(images).outputs[0].reshape(2, -1), last)


def convolutional(channels, mh, steps=1, side=12):
    """One 3 x 3 convolution of bytes, its thresholds spread over what its sums reach."""
    rng = np.random.default_rng(2)
    slide = SlidingWindow("w", channels, side, side, 3, 3, 1, 1, 1, 1, False, False, 1, "UINT8", "UINT8")
    mw, vectors = 9 * channels, slide.out_height * slide.out_width
    output = "BINARY" if steps == 1 else "UINT8"
    layers = (slide, Mvau("c", mw, mh, vectors, 1, 1, steps, False, "UINT8", "BIPOLAR", output, 0))
    arrays = {
        "c.weights": rng.choice([-1, 1], (mw, mh)),
        "c.thresholds": np.sort(rng.integers(-60 * mw, 60 * mw, (mh, steps)), axis=1),
    }
    values = side * side * channels
    return DataflowGraph(
        "one",
        layers,
        (make_tensor("in", "UINT8", (1, values), (1, values, 1), "NC", "idma0"),),
        (make_tensor("out", output, (1, vectors * mh), (1, vectors * mh, 1), "NC", "odma0"),),
        arrays,
    )


@pytest.mark.parametrize("form", FORMS)
def test_any_split_and_any_number_of_threads_give_the_same_answers(form, rng):
    network = convolutional(24, 16)
    model = GoldenModel(network, form=form)
    frames = 501
    images = rng.randint(0, 256, (frames, network.layers[0].in_values)).astype(np.uint8)
    whole = model.run(images, threads=1).outputs[0]
    for threads in (2, 3):
        np.testing.assert_array_equal(model.run(images, threads=threads).outputs[0], whole)
    for split in (1, 37, 250):
        parts = [model.run(images[start : start + split]).outputs[0] for start in range(0, frames, split)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("steps", [FEW_STEPS, FEW_STEPS + 1, 255])
def test_many_thresholds_are_searched_as_they_are_counted(steps, rng):
    network = convolutional(2, 3, steps=steps, side=5)
    image = rng.randint(0, 256, (1, 5, 5, 2)).astype(np.uint8)
    wanted = slow(network, image[0])
    for form in FORMS:
        found = GoldenModel(network, form=form).run(image, intermediates=True).intermediates
        assert found["c"][0].tolist() == wanted["c"]
        assert found["c.accumulators"][0].tolist() == wanted["c.accumulators"]


@pytest.mark.parametrize(
    ("index", "changes", "says"),
    [
        (0, {"kernel_h": 13}, "the windows of w, 13 x 3, do not fit its feature map of 12 x 12"),
        (0, {"dilation_w": 6}, "the windows of w, 3 x 3, do not fit"),
        (0, {"output": "INT8"}, "w turns UINT8 into INT8"),
        (0, {"stride_h": 0}, "stride_h of w is 0"),
        (0, {"stride_w": 2}, "c takes 1800 UINT8 values, w gives 900 UINT8"),
        (0, {"width": 1 << 24, "height": 1 << 24}, "w holds .* values a frame, more than"),
        (1, {"vectors": 1 << 24}, "c holds .* values a frame, more than"),
    ],
)
def test_a_file_whose_windows_cannot_be_is_refused(tmp_path, index, changes, says):
    path = tmp_path / "network.npz"
    GoldenModel(convolutional(2, 3)).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    record = json.loads(members["network.json"])
    record["layers"][index].update(changes)
    members["network.json"] = json.dumps(record).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ArtifactError, match=says):
        GoldenModel.load(path)
