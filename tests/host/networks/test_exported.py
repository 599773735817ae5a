"""The exported network's own arithmetic, compared with qonnx."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labd_host.exports import QONNX_DOMAIN, load_onnx
from labd_host.networks import trained_onnx, trained_record
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError, ShapeError


@pytest.fixture(scope="module")
def tfc():
    return ExportedModel(trained_onnx("tfc-w1a1"))


def with_node(path, operator, constants, **attributes):
    """A network of one qonnx node, its image input of shape (1, 1, 2, 8), in *path*."""
    names = [f"constant{number}" for number in range(len(constants))]
    node = helper.make_node(operator, ["x", *names], ["y"], domain=QONNX_DOMAIN, **attributes)
    shape = [1, 1, 2, 8]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.float32(value), name)
            for name, value in zip(names, constants, strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(QONNX_DOMAIN, 2)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def test_the_export_scores_what_its_record_says(tfc, mnist_test):
    images, labels = mnist_test
    record = trained_record("tfc-w1a1")
    assert (len(images), int((tfc.run(images).argmax(axis=1) == labels).sum())) == (
        record.samples,
        record.correct,
    )


def test_the_export_computes_what_qonnx_computes(tfc, rng):
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    images = (rng.randint(0, 2, (20, 28, 28, 1)) * rng.randint(0, 256, (20, 28, 28, 1))).astype(np.uint8)
    model = cleanup_model(ModelWrapper(str(trained_onnx("tfc-w1a1"))))
    for image, logits in zip(images, tfc.run(images), strict=True):
        x = image.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
        wanted = execute_onnx(model, {model.graph.input[0].name: x})[model.graph.output[0].name]
        np.testing.assert_allclose(logits, wanted[0], rtol=0, atol=1e-5)


def test_a_batch_of_any_size_gives_the_same_logits(tfc, rng):
    images = rng.randint(0, 256, (1001, 28, 28, 1)).astype(np.uint8)
    logits = tfc.run(images)
    assert logits.shape == (1001, 10)
    np.testing.assert_array_equal(logits[1000:], tfc.run(images[1000:]))


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("bits", [2, 8])
def test_quant_is_qonnxs_quant(tmp_path, signed, narrow, bits):
    from qonnx.custom_op.general.quant import quant

    images = np.arange(0, 256, 16, dtype=np.uint8).reshape(1, 2, 8, 1)
    constants = (0.03125, 3.0 - 3 * signed, float(bits))
    path = with_node(
        tmp_path / "quant.onnx", "Quant", constants, signed=signed, narrow=narrow, rounding_mode="ROUND"
    )
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    wanted = quant(x, *(np.float32(value) for value in constants), signed, narrow, "ROUND")
    np.testing.assert_allclose(ExportedModel(path).run(images), wanted, rtol=0, atol=1e-6)


def test_bipolar_quant_is_qonnxs_bipolar_quant(tmp_path):
    from qonnx.custom_op.general.bipolar_quant import binary_quant

    images = np.zeros((1, 2, 8, 1), np.uint8)  # zero itself becomes +1
    path = with_node(tmp_path / "bipolar.onnx", "BipolarQuant", (0.5,))
    wanted = binary_quant(images.transpose(0, 3, 1, 2).astype(np.float32), np.float32(0.5))
    np.testing.assert_array_equal(ExportedModel(path).run(images), wanted)


def test_images_of_another_size_or_kind_are_refused(tfc):
    with pytest.raises(
        ShapeError, match=r"images are uint8 \(2, 32, 32, 3\), the network takes uint8 \(n, 28, 28, 1\)"
    ):
        tfc.run(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(ShapeError, match="images are float32"):
        tfc.run(np.zeros((2, 28, 28, 1), np.float32))


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no exported network at"):
        ExportedModel(tmp_path / "none.onnx")
    for name, data in (("noise", bytes(range(256)) * 8), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArtifactError, match=r"is not an ONNX model|is not an ONNX network"):
            ExportedModel(tmp_path / name)


def test_operators_labd_cannot_run_are_named(tmp_path):
    with pytest.raises(ArtifactError, match="Trunc_0 is a Trunc node, which labd cannot run"):
        ExportedModel(with_node(tmp_path / "trunc.onnx", "Trunc", (1.0,)))
    floor = with_node(
        tmp_path / "floor.onnx", "Quant", (1.0, 0.0, 8.0), signed=1, narrow=0, rounding_mode="NEAREST"
    )
    with pytest.raises(ArtifactError, match=r"Quant_0 \(Quant\) rounds 'NEAREST'; known: ROUND, FLOOR"):
        ExportedModel(floor)


def test_the_shipped_export_says_nothing_about_the_machine_it_was_made_on():
    model = load_onnx(trained_onnx("tfc-w1a1"))
    assert [entry.name for entry in model.graph.input] == ["x"], "weights are constants, not inputs"
    assert b"site-packages" not in model.SerializeToString()
    for node in model.graph.node:
        assert not node.metadata_props and not node.doc_string
