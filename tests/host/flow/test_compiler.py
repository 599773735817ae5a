"""The flow through the real FINN, on the shipped tfc-w1a1."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from labd_host.dataflow.folding import load_folding
from labd_host.flow import compile_network
from labd_host.flow.finn_door import Finn
from labd_host.networks import trained_onnx
from labd_host.networks.exported import ExportedModel
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, ShapeError, StageFailed

NAMES = ["exported", "tidy", "prepost", "streamlined", "hardware", "partition", "folded", "golden"]
LAYERS = ["Thresholding_rtl_0", *(f"MVAU_hls_{i}" for i in range(4)), "LabelSelect_hls_0"]


def test_the_stages_are_the_lab_s_in_their_order(compiled):
    assert [stage.name for stage in compiled.stages] == NAMES


def test_every_stage_is_proven_against_the_one_before_it_on_activations_sums_and_label(compiled):
    for before, stage in zip(compiled.stages, compiled.stages[1:], strict=False):
        proof = stage.proof
        kinds = [entry.kind for entry in proof.compared]
        assert (proof.against, proof.images, proof.mismatches) == (before.name, 16, 0)
        assert kinds == ["levels", *["sums", "levels"] * 3, "sums", "label"], stage.name
        assert [entry.values for entry in proof.compared] == [784, 64, 64, 64, 64, 64, 64, 10, 1]
        assert proof.elements == 16 * (784 + 6 * 64 + 10 + 1)


def test_the_scores_are_the_function_of_the_logits_that_the_graph_says(compiled):
    scores = {stage.name: stage.proof.scores for stage in compiled.stages}
    first = scores["exported"]
    for name in ("tidy", "prepost"):
        assert (scores[name].scale, scores[name].offset) == pytest.approx((first.scale, first.offset)), name
    for name in ("streamlined", "hardware", "partition", "folded", "golden"):
        assert (scores[name].scale, scores[name].offset) == (0.5, 32), f"{name} counts agreeing bits of 64"


def test_each_stage_lies_beside_its_record(compiled):
    for number, stage in enumerate(compiled.stages, start=1):
        record = json.loads((compiled.folder / f"{number}-{stage.name}.json").read_text())
        assert record["stage"] == stage.name
        assert record["sha256"] == file_sha256(stage.path)
        assert record["proof"] == stage.proof.record()
        assert record["tools"] == dict(compiled.tools)
        assert record["steps"] or stage.name == "golden"


def test_tensors_have_the_three_shapes_that_finn_s_driver_has(compiled):
    (source,), (sink,) = compiled.inputs, compiled.outputs
    assert (source.normal, source.folded, source.packed) == ((1, 784), (1, 16, 49), (1, 16, 49))
    assert (source.datatype.name, source.layout, source.dma) == ("UINT8", "NC", "idma0")
    assert (sink.normal, sink.folded, sink.packed) == ((1, 1), (1, 1, 1), (1, 1, 1))
    assert (sink.datatype.name, sink.dma) == ("UINT8", "odma0")


def test_the_folding_is_the_lab_s(compiled):
    folds = {name: tuple(fold.values()) for name, fold in compiled.folding.items()}
    assert folds == dict(zip(LAYERS, [(49,), (16, 49), (8, 8), (8, 8), (10, 8), (1,)], strict=True))


def test_finn_reads_the_folding_that_was_written(compiled, tmp_path, proof_images):
    again = compile_network(
        trained_onnx("tfc-w1a1"),
        folding=load_folding(str(compiled.folder / "folding.json"), "tfc-w1a1"),
        out=tmp_path,
        images=proof_images[:1],
    )
    assert again.folding == compiled.folding
    assert (tmp_path / "network.npz").read_bytes() == (compiled.folder / "network.npz").read_bytes()


def test_the_same_input_gives_the_same_bytes_in_another_process(compiled, tmp_path, proof_images):
    np.save(tmp_path / "images.npy", proof_images)
    script = (
        "import sys, numpy; from pathlib import Path\n"
        "from labd_host.dataflow.folding import load_folding\n"
        "from labd_host.flow import compile_network\n"
        "from labd_host.networks import trained_onnx\n"
        "compile_network(trained_onnx('tfc-w1a1'), folding=load_folding('lab', 'tfc-w1a1'),\n"
        "    out=Path(sys.argv[2]), images=numpy.load(sys.argv[1], allow_pickle=False))\n"
    )
    out = tmp_path / "out"
    finished = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "images.npy"), str(out)],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert (finished.stdout, finished.stderr) == ("", ""), "FINN's chatter belongs into finn.log"
    for path in sorted(compiled.folder.iterdir()):
        if path.name != "finn.log":
            assert (out / path.name).read_bytes() == path.read_bytes(), f"{path.name} differs between runs"


def test_negative_batch_norm_scales_turn_signs_and_change_no_result(tmp_path, proof_images):
    model = onnx.load(str(trained_onnx("tfc-w1a1")))
    for initializer in model.graph.initializer:
        if initializer.name in ("features.3.weight", "features.11.weight"):
            value = numpy_helper.to_array(initializer).copy()
            value[::3] *= -1
            initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))
    path = tmp_path / "turned.onnx"
    path.write_bytes(model.SerializeToString())
    made = compile_network(
        path, folding=load_folding("lab", "tfc-w1a1"), out=tmp_path / "out", images=proof_images[:4]
    )
    rng = np.random.default_rng(5)
    frames = (rng.random((300, 28, 28, 1)) < rng.random((300, 1, 1, 1))).astype(np.uint8) * 255
    scores, result = ExportedModel(path).run(frames), made.golden.run(frames)
    affine = made.stages[0].proof.scores
    np.testing.assert_allclose(affine.scale * (2 * result.logits - 64) + affine.offset, scores, atol=1e-4)
    shipped = ExportedModel(trained_onnx("tfc-w1a1")).run(frames)
    assert not np.allclose(shipped, scores), "the variant is another network"


def test_the_environment_is_left_as_it_was(compiled):
    before = dict(os.environ)
    with Finn() as finn:
        finn.load(compiled.stages[0].path)
        assert "FINN_BUILD_DIR" in os.environ
    assert dict(os.environ) == before
    assert "torch" not in sys.modules


def test_a_file_that_is_no_network_is_refused(tmp_path, proof_images):
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"\x00\xff" * 100)
    with pytest.raises(ArtifactError, match=r"noise\.onnx"):
        compile_network(
            path, folding=load_folding("lab", "tfc-w1a1"), out=tmp_path / "out", images=proof_images
        )


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (0, 28, 28, 1), (2, 784)])
def test_images_of_another_size_or_none_are_refused_with_both_shapes(tmp_path, shape):
    images = np.zeros(shape, dtype=np.uint8)
    with pytest.raises(
        ShapeError, match=rf"{re.escape(str(shape))}, the network takes one of \(1, 1, 28, 28\)"
    ):
        compile_network(
            trained_onnx("tfc-w1a1"),
            folding=load_folding("lab", "tfc-w1a1"),
            out=tmp_path,
            images=images,
        )


def test_what_finn_raises_names_the_step(compiled):
    from labd_host.flow.stages import Step

    step = Step("qonnx.transformation.insert_topk:InsertTopK", {"no_such_argument": 1})
    with Finn() as finn, pytest.raises(StageFailed, match="FINN gave up at InsertTopK: TypeError") as caught:
        finn.apply(finn.load(compiled.stages[0].path), step)
    assert caught.value.facts["step"] == "InsertTopK"
