"""The CNV-w1a1 that comes with labd: compiled, proven on real images, and as good as its record says."""

import re
import shutil
from dataclasses import fields

import numpy as np
import pytest

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import load_folding, read_folding, to_json
from labd_host.dataflow.parts import part_of
from labd_host.explore import calibration
from labd_host.explore.choices import calibrated_costs, finn_costs
from labd_host.explore.optimiser import Explorer
from labd_host.flow import compile_network
from labd_host.networks import network, trained_onnx, trained_record
from labd_host.networks.exported import ExportedModel
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.datasets import read_official
from support.record_finn import assert_recorded, images_of, recording_of
from support.whole_split import DeployedNetwork

NAME = "cnv-w1a1"


@pytest.fixture(scope="module")
def cifar10(official_archives):
    return read_official(official_archives("cifar10", "cifar-10-binary.tar.gz").parent, "cifar10", "test")


@pytest.fixture(scope="module")
def cnv(tmp_path_factory, cifar10):
    return compile_network(
        trained_onnx(NAME),
        folding=load_folding("lab", NAME),
        out=tmp_path_factory.mktemp("cnv"),
        images=cifar10[0][:2],
        many_images=cifar10[0][:200],
    )


def test_it_reaches_the_accuracy_that_was_promised():
    record = trained_record(NAME)
    assert (record.dataset, record.split, record.samples) == ("cifar10", "test", 10000)
    assert record.accuracy_percent >= 76


def test_its_record_repeats_the_training():
    """What differs from the recipe of the table stands in the command."""
    record, recipe = trained_record(NAME), network(NAME).recipe
    assert record.command.startswith(f"labd train {NAME} --start ")
    for field in fields(recipe):
        trained_with = getattr(record.recipe, field.name)
        if trained_with != getattr(recipe, field.name):
            assert re.search(rf"--(recipe )?{field.name}[= ]{trained_with}( |$)", record.command), field.name


def test_on_real_images_it_is_proven_through_every_stage_and_answers_like_its_export(cnv, cifar10):
    assert [stage.proof.images for stage in cnv.stages] == [2] * 8 + [200]
    assert cnv.stages[-1].name == "answers"
    images = cifar10[0][:500]
    scores = ExportedModel(trained_onnx(NAME)).run(images)
    np.testing.assert_array_equal(cnv.golden.run(images).outputs[0][:, 0], scores.argmax(axis=1))


@pytest.mark.parametrize(
    ("costs", "answer"),
    [
        (finn_costs, Explorer.fastest),
        (calibrated_costs, Explorer.fastest),
        (finn_costs, Explorer.lowest_latency),
    ],
    ids=["fastest", "fastest, calibrated", "lowest latency"],
)
def test_an_optimised_folding_compiles_and_is_proven_on_real_images(costs, answer, cnv, cifar10, tmp_path):
    recommended = part_of(PYNQ_Z2_DEVICE).recommended
    budgets = {cell: int(getattr(recommended, cell)) for cell in ("lut", "ff", "bram18", "dsp")}
    shipped = calibration.read(calibration.SHIPPED)
    found = answer(Explorer(design_of(network(NAME)), costs(shipped), budgets))
    file = tmp_path / "folding.json"
    file.write_text(to_json(found.folding))
    out = tmp_path / "out"
    shutil.copytree(cnv.folder, out)  # what no folding changes is used again
    compiled = compile_network(trained_onnx(NAME), folding=read_folding(file), out=out, images=cifar10[0][:2])
    assert [stage.name for stage in compiled.stages if not stage.reused] == ["folded", "golden"]
    assert compiled.golden.network.layers == found.design.layers
    assert [stage.proof.mismatches for stage in compiled.stages[1:]] == [0] * 7
    luts = {node.name: node.uses["LUT"] for node in compiled.cost.nodes if node.uses}
    ours = {layer.name: layer.finn_estimate(found.folding[layer.name]).lut for layer in found.design.layers}
    assert luts == ours, "FINN's own figures of the folded graph"
    images = cifar10[0][:200]
    np.testing.assert_array_equal(compiled.golden.run(images).outputs[0], cnv.golden.run(images).outputs[0])


def test_the_golden_model_counts_what_the_record_says(cnv, cifar10):
    images, labels = cifar10
    assert int((cnv.golden.run(images).outputs[0][:, 0] == labels).sum()) == trained_record(NAME).correct


def test_every_tensor_of_a_hundred_images_is_what_finn_s_executor_computed(cnv, cifar10):
    recording = recording_of(NAME)
    found = cnv.golden.run(images_of(recording, cifar10[0]), intermediates=True)
    rows = {name: value.reshape(len(value), -1) for name, value in found.intermediates.items()}
    assert_recorded(recording, rows)


@pytest.fixture(scope="module")
def deployed(cnv, cifar10, labd_home, board_python):
    return DeployedNetwork(NAME, cnv, cifar10, labd_home, board_python)


def test_over_ssh_a_board_counts_each_of_ten_thousand_images_once(deployed):
    right = trained_record(NAME).correct
    for batch_size in (10000, 1000, 300, 7):
        assert deployed.counted(batch_size) == (10000, right, 10000), batch_size


@pytest.mark.slow  # ten thousand runs of the driver
def test_over_ssh_so_it_does_image_by_image(deployed):
    assert deployed.counted(1) == (10000, trained_record(NAME).correct, 10000)
