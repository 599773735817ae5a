"""What a training left, as a network that comes with labd; the training is the shipped TFC's own."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from labd_host.networks import trained_onnx, trained_record
from labd_host.networks.exported import ExportedModel
from labd_host.networks.ship import main, ship
from labd_host.networks.trained import TRAINED
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, DigestMismatch, StageMismatch, UsageError
from support.facts import lacking

NAME = "tfc-w1a1"


@pytest.fixture
def training(tmp_path, monkeypatch, rng):
    """A training's folder whose weights are no signs yet, its record, and the images it was measured on."""
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "training"
    folder.mkdir()
    model = onnx.load(str(TRAINED / f"{NAME}.onnx"))
    path = folder / f"{NAME}.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    images, labels = rng.randint(0, 256, (200, 28, 28, 1)).astype(np.uint8), rng.randint(0, 10, 200)
    correct = int((ExportedModel(path).run(images).argmax(axis=1) == labels).sum())
    record = replace(
        trained_record(NAME),
        onnx_sha256=file_sha256(path),
        samples=200,
        correct=correct,
        command="labd train",
    )
    return path, record, (images, labels.astype(np.uint8))


def test_a_training_ships_packed_with_its_record_and_computes_the_same(training, tmp_path):
    path, record, test_set = training
    out = tmp_path / "out"
    out.mkdir()
    made = ship(path, record, test_set, out)
    assert {each.name for each in out.iterdir()} == {f"{NAME}.onnx.xz", f"{NAME}.json"}
    assert (out / f"{NAME}.onnx.xz").stat().st_size < path.stat().st_size / 10
    assert made == trained_record(NAME, out) == replace(record, onnx_sha256=made.onnx_sha256)
    assert made.onnx_sha256 != record.onnx_sha256, "signs are other constants"
    found = ExportedModel(trained_onnx(NAME, out)).run(test_set[0])
    np.testing.assert_array_equal(found, ExportedModel(path).run(test_set[0]))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"onnx_sha256": "0" * 64}, DigestMismatch, "its record says 000000000000"),
        ({"correct": 0}, StageMismatch, "its record says 0 of 200"),
        ({"samples": 300}, StageMismatch, "of 200 images right, its record says"),
    ],
)
def test_a_record_of_something_else_ships_nothing(training, tmp_path, change, error, says):
    path, record, test_set = training
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(error, match=says):
        ship(path, replace(record, **change), test_set, out)
    assert not list(out.iterdir())


def test_a_training_is_not_replaced_by_what_ships(training):
    path, record, test_set = training
    with pytest.raises(UsageError, match="holds the training itself"):
        ship(path, record, test_set, path.parent)


def test_a_training_that_has_not_ended_is_named(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"network": NAME, "epochs": 3, "seed": 0, "precision": "float32"})
    )
    raised = CliRunner().invoke(main, [str(tmp_path)]).exception
    assert isinstance(raised, ArtifactError)
    assert raised.what == f"the training of {NAME} in {tmp_path} has not ended: there is no {NAME}.onnx"
    assert raised.fix == f"labd train {NAME} --resume -o {tmp_path}"


def test_the_command_ships_a_whole_folder(tmp_path, mnist_folder, monkeypatch):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    folder, out = tmp_path / "training", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for suffix in ("onnx", "json"):
        shutil.copy(TRAINED / f"{NAME}.{suffix}", folder)
    (folder / "run.json").write_text(
        json.dumps({"network": NAME, "epochs": 300, "seed": 0, "precision": "float32"})
    )
    done = CliRunner().invoke(main, [str(folder), "-o", str(out)], catch_exceptions=False)
    first, *files = done.output.splitlines()
    assert first.startswith(f"{NAME}: 9355 of 10000 right (93.55 %)")
    assert lacking(first, "packed", "the same") == []
    assert files[0].startswith(f"{out / NAME}.onnx.xz (")
    assert trained_record(NAME, out).command == trained_record(NAME).command
