"""The golden model against FINN's own executor: live on a few frames, recorded on a hundred images."""

import numpy as np
import pytest

from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_host.golden.golden_model import GoldenModel
from labd_host.networks import trained_onnx
from labd_shared.digest import file_sha256
from support.record_finn import DIGESTS, assert_recorded, images_of, recording_of, tensors_of

RECORD_AGAIN = "run tests/support/record_finn.py NETWORK again"


@pytest.fixture(scope="module")
def recording():
    return recording_of("tfc-w1a1")


@pytest.fixture(scope="module")
def recorded_images(recording, mnist_test):
    return images_of(recording, mnist_test[0])


@pytest.fixture(scope="module")
def finn():
    with Finn() as opened:
        yield opened


@pytest.fixture(scope="module")
def folded(finn, compiled):
    return finn.load(next(stage.path for stage in compiled.stages if stage.name == "folded"))


def assert_equal_tensors(ours, theirs):
    assert list(ours) == list(theirs), "the same tensors in the same order"
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.parametrize("name", ["tfc-w1a1", "cnv-w1a1", "vgg9-w1a1"])
def test_the_recordings_are_of_the_shipped_networks_and_hold_no_image(name):
    recording = recording_of(name)
    assert str(recording["onnx_sha256"]) == file_sha256(trained_onnx(name)), RECORD_AGAIN
    assert len(recording["images"]) >= 100
    widths = {name: value.shape[1] for name, value in recording.items() if value.ndim == 2}
    assert max(widths.values()) <= 128, "nothing as wide as an image of 784 pixels"
    assert any(name.endswith(DIGESTS) for name in recording)


def test_every_tensor_of_the_recording_equals_the_golden_model(recording, recorded_images, compiled):
    found = compiled.golden.run(recorded_images, intermediates=True)
    assert_recorded(recording, found.intermediates)
    np.testing.assert_array_equal(found.logits, recording["MVAU_hls_3"])
    np.testing.assert_array_equal(found.outputs[0], recording["LabelSelect_hls_0"])


def test_finn_computes_today_what_was_recorded(recording, recorded_images, finn, folded):
    few = slice(0, 100, 25)
    assert_recorded(recording, tensors_of(finn, folded, recorded_images[few].reshape(4, -1)), few)


def test_every_tensor_of_noise_equals_finn_s(finn, folded, compiled):
    rng = np.random.default_rng(7)
    frames = rng.integers(0, 256, (6, 784), dtype=np.uint8)
    frames[0], frames[1], frames[2, ::2] = 0, 255, 128
    ours = compiled.golden.run(frames, intermediates=True)
    assert_equal_tensors(ours.intermediates, tensors_of(finn, folded, frames))


@pytest.mark.parametrize(
    ("xnor", "kind", "weight", "out", "steps", "offset"),
    [
        (True, "BINARY", "BINARY", "BINARY", 1, 0),
        (True, "BINARY", "BINARY", "UINT2", 3, 0),
        (True, "BINARY", "BINARY", "UINT32", 0, 0),
        (False, "UINT8", "BIPOLAR", "BINARY", 1, 0),
        (False, "UINT2", "INT4", "INT2", 3, -2),
        (False, "INT8", "INT8", "INT32", 0, 0),
        (False, "UINT4", "BIPOLAR", "BIPOLAR", 1, 0),
    ],
)
def test_a_layer_of_any_datatypes_equals_finn_s(finn, tmp_path, xnor, kind, weight, out, steps, offset):
    rng = np.random.default_rng(11)
    path = tmp_path / "layer.onnx"
    path.write_bytes(one_layer(rng, 13, 7, xnor, kind, weight, out, steps, offset))
    model = finn.load(path)
    network = describe(finn.graph(model), "layer", finn.edges(model))
    frames = random_values(rng, kind, (20, 13))
    ours = GoldenModel(network).run(frames, intermediates=True)
    assert_equal_tensors(ours.intermediates, tensors_of(finn, model, frames))
    np.testing.assert_array_equal(ours.outputs[0], ours.intermediates["MVAU_0"])


def random_values(rng, kind, shape):
    from labd_shared.datatypes import parse_datatype

    datatype = parse_datatype(kind)
    if kind == "BIPOLAR":
        return 2 * rng.integers(0, 2, shape) - 1
    return rng.integers(datatype.low, datatype.high + 1, shape)


def one_layer(rng, mw, mh, xnor, kind, weight, out, steps, offset):
    """The bytes of a model with a single MVAU."""
    from onnx import TensorProto, helper
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    names = ["x", "w", "t"] if steps else ["x", "w"]
    node = helper.make_node(
        "MVAU",
        names,
        ["y"],
        name="MVAU_0",
        domain="finn.custom_op.fpgadataflow",
        backend="fpgadataflow",
        MW=mw,
        MH=mh,
        SIMD=1,
        PE=1,
        inputDataType=kind,
        weightDataType=weight,
        outputDataType=out,
        ActVal=offset,
        binaryXnorMode=int(xnor),
        noActivation=int(steps == 0),
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, mw])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, mh])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("finn.custom_op.fpgadataflow", 1)]
    model = ModelWrapper(
        helper.make_model(helper.make_graph([node], "layer", [x], [y]), opset_imports=opsets)
    )
    model.set_tensor_datatype("x", DataType[kind])
    model.set_tensor_datatype("y", DataType[out])
    model.set_initializer("w", random_values(rng, weight, (mw, mh)).astype(np.float32))
    if steps:
        spread = mw // 2 if xnor else 40
        low = 0 if xnor else -spread
        thresholds = np.sort(rng.integers(low, mw if xnor else spread, (mh, steps)), axis=1)
        model.set_initializer("t", thresholds.astype(np.float32))
    return model.model.SerializeToString()
