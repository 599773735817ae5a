"""Windows, padding, pools and long ladders of thresholds, against a slow and obvious reference."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labd_host.emulation.golden import CHUNK_BYTES, CHUNK_FRAMES, FEW_STEPS, GoldenModel
from labd_host.emulation.golden_layers import MaxPool, Mvau, Network, Padding, SlidingWindow, Thresholding
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import ArtifactError
from labd_shared.tensors import make_tensor


def slow(network, frame):
    """The outputs of the layers for one frame (height, width, channels), value by value."""
    found = {}
    values = np.asarray(frame).astype(object)
    for layer in network.layers:
        if isinstance(layer, Padding):
            grown = np.zeros((layer.out_height, layer.out_width, layer.channels), dtype=object)
            for row in range(layer.height):
                for column in range(layer.width):
                    grown[layer.top + row, layer.left + column] = values[row, column]
            values = grown
        elif isinstance(layer, SlidingWindow):
            values = np.array(
                [
                    [window(values, layer, i, j) for j in range(layer.out_width)]
                    for i in range(layer.out_height)
                ],
                dtype=object,
            )
        elif isinstance(layer, MaxPool):
            rows, columns = values.shape[:2]
            groups = values.reshape(rows, columns, layer.kernel, layer.channels)
            values = np.array(
                [
                    [[max(groups[i, j, :, c]) for c in range(layer.channels)] for j in range(columns)]
                    for i in range(rows)
                ],
                dtype=object,
            )
        else:
            if isinstance(layer, Mvau):
                values = multiplied(values, network.weights(layer), layer)
                if not layer.steps:
                    found[layer.name] = values.reshape(-1).tolist()
                    continue
                found[f"{layer.name}.accumulators"] = values.reshape(-1).tolist()
            values = levelled(values, network.thresholds(layer), layer)
        found[layer.name] = values.reshape(-1).tolist()
    return found


def window(values, layer, i, j):
    """The values of window (i, j): row by row, column by column, all channels of each."""
    top, left = i * layer.stride_h, j * layer.stride_w
    return [
        values[top + row * layer.dilation_h, left + column * layer.dilation_w, channel]
        for row in range(layer.kernel_h)
        for column in range(layer.kernel_w)
        for channel in range(layer.channels)
    ]


def multiplied(values, weights, layer):
    flat = values.reshape(layer.vectors, layer.mw)
    out = np.empty((layer.vectors, layer.mh), dtype=object)
    for vector in range(layer.vectors):
        for row in range(layer.mh):
            pairs = [(int(a), int(b)) for a, b in zip(flat[vector], weights[:, row], strict=True)]
            out[vector, row] = sum(a == b for a, b in pairs) if layer.xnor else sum(a * b for a, b in pairs)
    return out.reshape((*values.shape[:-1], layer.mh)) if values.shape[-1] == layer.mw else out


def levelled(values, thresholds, layer):
    flat = values.reshape(-1, values.shape[-1])
    out = np.empty(flat.shape, dtype=object)
    for (vector, channel), value in np.ndenumerate(flat):
        ladder = thresholds[channel if len(thresholds) > 1 else 0]
        reached = sum(int(value) >= int(threshold) for threshold in ladder)
        out[vector, channel] = 2 * reached - 1 if layer.output == "BIPOLAR" else reached + layer.offset
    return out.reshape(values.shape)


@st.composite
def networks(draw):
    """Thresholding, padding, a convolution, a pool, a convolution; of 1 to 4 bits."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width, channels = draw(st.integers(3, 7)), draw(st.integers(3, 7)), draw(st.integers(1, 3))
    bits = draw(st.integers(1, 4))
    activation = "BINARY" if bits == 1 else f"UINT{bits}"
    weight = draw(st.sampled_from(["BIPOLAR", "INT2", "INT4"]))
    first = draw(st.sampled_from([("INT8", 255, -128), (activation, 2**bits - 1, 0)]))
    rows = draw(st.sampled_from([1, channels]))
    layers = [Thresholding("t", channels, height * width, 1, first[1], "UINT8", first[0], first[2])]
    arrays = {"t.thresholds": np.sort(rng.integers(-3, 260, (rows, first[1])), axis=1)}
    if draw(st.booleans()) and first[0] != "BINARY":
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
    return Network(
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
    mw, mh = kernel_h * kernel_w * channels, draw(st.integers(1, 9))
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
    model = GoldenModel.load(path)
    found = model.run(images, intermediates=True).intermediates
    for row, image in enumerate(images):
        wanted = slow(network, image)
        assert list(found) == list(wanted), "the same tensors in the same order"
        for name, values in wanted.items():
            assert found[name][row].tolist() == values, name
    np.testing.assert_array_equal(model.run(images).outputs[0].reshape(2, -1), found[network.layers[-1].name])


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
    return Network(
        "one",
        layers,
        (make_tensor("in", "UINT8", (1, values), (1, values, 1), "NC", "idma0"),),
        (make_tensor("out", output, (1, vectors * mh), (1, vectors * mh, 1), "NC", "odma0"),),
        arrays,
    )


def test_a_network_too_wide_for_one_chunk_is_computed_in_parts_with_the_same_answers(rng):
    network = convolutional(24, 16)
    operand_bytes = 4 * network.layers[1].in_values
    frames = 3 * CHUNK_BYTES // operand_bytes
    assert 10 < frames < CHUNK_FRAMES, "several chunks, none of them the most frames there may be"
    images = rng.randint(0, 256, (frames, network.layers[0].in_values)).astype(np.uint8)
    model = GoldenModel(network)
    whole = model.run(images).outputs[0]
    alone = np.concatenate([model.run(images[row : row + 1]).outputs[0] for row in range(frames)])
    np.testing.assert_array_equal(whole, alone)


@pytest.mark.parametrize("steps", [FEW_STEPS, FEW_STEPS + 1, 255])
def test_many_thresholds_are_searched_as_they_are_counted(steps, rng):
    network = convolutional(2, 3, steps=steps, side=5)
    image = rng.randint(0, 256, (1, 5, 5, 2)).astype(np.uint8)
    found = GoldenModel(network).run(image, intermediates=True).intermediates
    wanted = slow(network, image[0])
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
