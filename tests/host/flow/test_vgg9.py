"""The VGG9-w1a1 that comes with labd: unpacked, compiled, proven; on CIFAR-100 where that is there."""

import random
import shutil

import numpy as np
import onnx
import pytest

from labd_host.bundles.golden_samples import golden_samples
from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, check_folding, load_folding
from labd_host.dataflow.layers import MaxPool, SlidingWindow
from labd_host.dataflow.presets import PRESETS
from labd_host.exports import QONNX_DOMAIN
from labd_host.flow import compile_network
from labd_host.flow.finn_door import Finn
from labd_host.networks import network, trained_onnx, trained_record
from labd_host.networks.compact import keep_signs
from labd_host.networks.exported import ExportedModel
from labd_host.networks.trained import TRAINED
from labd_shared.datasets import read_official
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, DigestMismatch
from support.foldings import random_folding
from support.record_finn import assert_recorded, images_of, recording_of
from support.whole_split import DeployedNetwork

NAME = "vgg9-w1a1"


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def cifar100(official_archives):
    folder = official_archives("cifar100", "cifar-100-binary.tar.gz").parent
    return read_official(folder, "cifar100", "test")


@pytest.fixture(scope="module")
def vgg9(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_CACHE", str(tmp_path_factory.mktemp("cache")))
        noise = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
        return compile_network(
            trained_onnx(NAME),
            folding=load_folding("lab", NAME),
            out=tmp_path_factory.mktemp("vgg9"),
            images=noise[:1],
            many_images=noise,
        )


def test_the_table_says_the_layers_that_finn_makes_of_it(vgg9):
    design = design_of(network(NAME)).folded(load_folding("lab", NAME))
    assert design.layers == vgg9.golden.network.layers
    assert (design.inputs, design.outputs) == (vgg9.inputs, vgg9.outputs)


def test_its_weights_take_about_a_bit_each(own_cache):
    packed = TRAINED / f"{NAME}.onnx.xz"
    path = trained_onnx(NAME)
    weights = keep_signs(onnx.load(str(path)))
    assert weights == 1_588_928
    assert packed.stat().st_size < 1.3 * weights / 8
    assert path.is_relative_to(own_cache)
    assert path.name == f"{NAME}.onnx", "its name is the network's, which foldings are found by"
    before = path.stat().st_mtime_ns
    assert trained_onnx(NAME).stat().st_mtime_ns == before, "unpacked once"
    path.write_bytes(b"not what was unpacked")
    assert file_sha256(trained_onnx(NAME)) == trained_record(NAME).onnx_sha256, (
        "and again when it was changed"
    )


def test_a_damaged_or_another_packed_export_is_noticed(own_cache, tmp_path):
    folder = tmp_path / "trained"
    shutil.copytree(TRAINED, folder)
    packed = folder / f"{NAME}.onnx.xz"
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-100])
    with pytest.raises(ArtifactError, match="is cut short, or holds more than"):
        trained_onnx(NAME, folder)
    packed.write_bytes(b"no xz at all")
    with pytest.raises(ArtifactError, match="is damaged"):
        trained_onnx(NAME, folder)
    packed.write_bytes(whole)
    record = folder / f"{NAME}.json"
    record.write_text(record.read_text().replace(trained_record(NAME).onnx_sha256, "0" * 64))
    with pytest.raises(DigestMismatch, match="its record says 000000000000"):
        trained_onnx(NAME, folder)
    assert not [each for each in own_cache.rglob("*") if each.is_file()], "nothing half-done stays"


def test_only_the_sign_of_what_a_bipolar_quantiser_reads_is_kept():
    latent = np.array([-0.3, 0.0, 2.0], np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("BipolarQuant", ["latent", "scale"], ["y"], domain=QONNX_DOMAIN)],
        "one",
        [],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3])],
        [
            onnx.numpy_helper.from_array(latent, "latent"),
            onnx.numpy_helper.from_array(np.float32(0.5), "scale"),
        ],
    )
    model = onnx.helper.make_model(graph)
    assert keep_signs(model) == 3
    kept = {entry.name: onnx.numpy_helper.to_array(entry).tolist() for entry in model.graph.initializer}
    assert kept == {"latent": [-1.0, 1.0, 1.0], "scale": 0.5}


def test_its_record_says_how_it_was_made():
    record = trained_record(NAME)
    assert (record.dataset, record.split, record.samples) == ("cifar100", "test", 10000)
    assert record.accuracy_percent >= 41.18
    assert record.recipe.batch == 125
    assert NAME in record.command
    assert record.how, "it began with weights that were made outside labd train, or is one of them"


def test_it_is_proven_through_every_stage(vgg9):
    # 9 quantisers (the image's included), 9 products and the label
    assert [stage.proof.tensors for stage in vgg9.stages] == [0] + [19] * 7 + [2]
    assert vgg9.stages[-1].name == "answers"
    assert vgg9.stages[-1].proof.images == 40
    assert sum(isinstance(layer, MaxPool) for layer in vgg9.golden.network.layers) == 2


def test_with_the_lab_s_folding_it_takes_32768_cycles_as_finn_expects_the_dma_counted(vgg9):
    layers = {node.name: node.cycles for node in vgg9.estimate.nodes if node.name in vgg9.finn_cycles}
    assert layers == vgg9.finn_cycles
    assert (vgg9.estimate.cycles_per_frame, vgg9.estimate.bottleneck) == (32768 + 6, "MVAU_hls_6")
    assert round(vgg9.estimate.frames_per_s(100.0), 1) == 3051.2
    assert vgg9.estimate.nodes[0].cycles == 384, "3,072 bytes at 64 bits a cycle"


def test_its_layers_take_the_cycles_that_finn_expects_in_any_folding(vgg9):
    draw = random.Random(20261123)
    path = next(stage.path for stage in vgg9.stages if stage.name == "folded")
    layers = vgg9.golden.network.layers
    with Finn() as finn:
        model = finn.load(path)
        for _ in range(8):
            settings = random_folding(draw, layers)
            check_folding(layers, settings)
            finn.set_attributes(model, settings)
            design = design_of(network(NAME)).folded(Folding("drawn", settings, {}))
            nodes = estimate(design.layers, design.inputs, design.outputs).nodes
            expected = finn.expected_cycles(model)
            assert {node.name: node.cycles for node in nodes if node.name in expected} == expected, settings


def test_the_lab_s_folding_of_cnv_fits_its_layers(vgg9):
    # CNV is VGG9 with ten classes; what the preset does not name stays as FINN makes it.
    layers = vgg9.golden.network.layers
    folding = PRESETS["cnv-w1a1"]["lab"]
    assert set(folding) == {layer.name for layer in layers}
    check_folding(layers, folding)
    mvaus = [(folding[f"MVAU_hls_{index}"]["PE"], folding[f"MVAU_hls_{index}"]["SIMD"]) for index in range(9)]
    assert mvaus == [(16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1)]
    assert network("cnv-w1a1").convs == network(NAME).convs


def test_a_folding_that_amd_wrote_for_cnv_is_understood(vgg9, tmp_path):
    """Its six windows are those of the convolutions; its FINN built a StreamingMaxPool, which has none."""
    layers = vgg9.golden.network.layers
    preset = load_folding("lab", "cnv-w1a1")
    names = [layer.name for layer in layers if isinstance(layer, SlidingWindow)]
    dense = [layer.name for layer in layers if isinstance(layer, SlidingWindow) and not layer.depthwise]
    nodes = {name: values for name, values in preset.nodes.items() if name.startswith("MVAU")}
    nodes |= {name: {"SIMD": 3 if name == names[0] else 32, "ram_style": "distributed"} for name in names[:6]}
    found = Folding("amd", nodes, {}).settings_for(vgg9.golden.network)
    check_folding(layers, found)
    assert [name for name in names if found[name]] == dense


def test_its_golden_samples_name_many_classes(vgg9):
    images, answers = golden_samples(vgg9.golden, (32, 32, 3))
    assert images.shape[1:] == (32, 32, 3)
    assert len(np.unique(answers)) >= 40


def test_on_real_images_it_answers_like_its_export(vgg9, cifar100):
    images, labels = cifar100[0][:1000], cifar100[1][:1000]
    found = vgg9.golden.run(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_CACHE", str(vgg9.folder / "cache"))
        scores = ExportedModel(trained_onnx(NAME)).run(images)
    affine = vgg9.stages[0].proof.scores
    exact = affine.scale * (2 * found.logits - 512) + affine.offset
    np.testing.assert_allclose(scores, exact, rtol=0, atol=affine.scale / 1000)
    np.testing.assert_array_equal(found.outputs[0][:, 0], scores.argmax(axis=1))
    right_percent = 100 * float((found.outputs[0][:, 0] == labels).mean())
    assert right_percent == pytest.approx(trained_record(NAME).accuracy_percent, abs=6)  # four deviations


def test_every_tensor_of_a_hundred_images_is_what_finn_s_executor_computed(vgg9, cifar100):
    recording = recording_of(NAME)
    found = vgg9.golden.run(images_of(recording, cifar100[0]), intermediates=True)
    rows = {name: value.reshape(len(value), -1) for name, value in found.intermediates.items()}
    assert_recorded(recording, rows)


@pytest.fixture(scope="module")
def deployed(vgg9, cifar100, labd_home, board_python):
    return DeployedNetwork(NAME, vgg9, cifar100, labd_home, board_python)


def test_over_ssh_a_board_counts_each_of_ten_thousand_images_once(deployed):
    right = trained_record(NAME).correct
    for batch_size in (10000, 1000, 300, 7):
        assert deployed.counted(batch_size) == (10000, right, 10000), batch_size


@pytest.mark.slow  # ten thousand runs of the driver
def test_over_ssh_so_it_does_image_by_image(deployed):
    assert deployed.counted(1) == (10000, trained_record(NAME).correct, 10000)
