"""Files are read within bounds, and data beside them only from inside their folder."""

import os

import numpy as np
import onnx
import pytest

from labd_host.cli.main import run
from labd_host.exports import load_onnx, onnx_file, read_export
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError
from support.small_exports import images, mlp, saved, with_data_beside


def elsewhere(model, location, **more):
    """*model* with the data of its first constant at *location*."""
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        constant.external_data.add(key=key, value=str(value))
    return model


def test_data_beside_the_file_are_read_from_there_whatever_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    path = with_data_beside(mlp(), tmp_path / "nets" / "split.onnx")
    whole = ExportedModel(saved(mlp(), tmp_path / "whole.onnx"))
    monkeypatch.chdir(tmp_path)
    assert path.with_name("split.onnx.data").is_file()
    split = ExportedModel(path)
    np.testing.assert_array_equal(split.run(images()), whole.run(images()))
    assert read_export(path).model.graph == read_export(tmp_path / "whole.onnx").model.graph
    data = path.with_name("split.onnx.data")
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    assert ExportedModel(path).sha256 != split.sha256, "the data belong to what a stage is made from"
    assert split.notes == ("the data of 21 constants are read from split.onnx.data beside the file",)


def test_data_in_a_folder_below_and_by_a_link_inside_are_read(tmp_path):
    (tmp_path / "data").mkdir()
    constant = mlp().graph.initializer[0]
    (tmp_path / "data" / "real").write_bytes(b"....." + constant.raw_data)
    (tmp_path / "link").symlink_to("data/real")
    for location in ("data/real", "link"):
        read = load_onnx(saved(elsewhere(mlp(), location, offset=5), tmp_path / "m.onnx"))
        assert read.graph.initializer[0].raw_data == constant.raw_data
        assert not read.graph.initializer[0].external_data


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/etc/hostname", "not a path inside"),
        ("../outside.data", "not a path inside"),
        ("sub/../../outside.data", "not a path inside"),
        ("..\\outside.data", "not a path inside"),
        ("C:\\outside.data", "not a path inside"),
        ("", "not a path inside"),
        ("missing.data", "cannot be found beside the model"),
        ("leads_out", "a link that leads out"),
        ("folder/outside.data", "a link that leads out"),
        ("circle", "cannot be found"),
        ("folder_here", "not a regular file"),
        ("fifo", "not a regular file"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "evaluate", "compile"])
def test_data_anywhere_else_are_refused_by_every_command(location, reason, command, tmp_path):
    home = tmp_path / "nets"
    (home / "folder_here").mkdir(parents=True)
    (tmp_path / "outside.data").write_bytes(bytes(4))
    (home / "leads_out").symlink_to(tmp_path / "outside.data")
    (home / "folder").symlink_to(tmp_path)
    (home / "circle").symlink_to("circle")
    os.mkfifo(home / "fifo")
    path = saved(elsewhere(mlp(), location), home / "model.onnx")
    more = [] if command == "inspect" else ["--dataset", "mnist"]
    more += ["-o", str(tmp_path / "out")] if command == "compile" else []
    assert run([command, str(path), *more]) in ((3, 5) if command == "compile" else (5,))
    with pytest.raises(ArtifactError, match=reason) as caught:
        load_onnx(path)
    assert "c0" in caught.value.what


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"offset": 2}, "end at byte 6 of data, which has 4"),
        ({"length": 8}, "has .* values of 4 bytes, its data are 8 bytes at 0"),
        ({"offset": -4}, "are 4 bytes at -4"),
        ({"offset": "x"}, "the place of the data of c0 is damaged"),
        ({"length": "9" * 5000}, "the place of the data of c0 is damaged"),
    ],
)
def test_data_that_do_not_fit_are_refused(more, reason, tmp_path):
    (tmp_path / "data").write_bytes(bytes(4))
    path = saved(elsewhere(mlp(), "data", **more), tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match=reason):
        load_onnx(path)


def test_the_file_and_its_data_together_are_bounded_before_they_are_read(tmp_path, monkeypatch):
    path = with_data_beside(mlp(), tmp_path / "split.onnx")
    monkeypatch.setattr(onnx_file, "MAX_MODEL_BYTES", path.stat().st_size + 100)
    with pytest.raises(ArtifactError, match="and its data have more than"):
        load_onnx(path)
    monkeypatch.setattr(onnx_file, "MAX_MODEL_BYTES", path.stat().st_size - 1)
    with pytest.raises(ArtifactError, match=f"has {path.stat().st_size} bytes, more than"):
        load_onnx(path)


def test_a_pipe_and_a_file_without_end_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    for name in ("fifo.onnx", "zero.onnx"):
        with pytest.raises(ArtifactError, match="is not a regular file"):
            load_onnx(tmp_path / name)


def test_what_is_cut_or_changed_anywhere_is_read_or_refused_never_a_traceback(tmp_path):
    whole, rng = mlp(gemm=True).SerializeToString(), np.random.default_rng(11)
    path, read = tmp_path / "damaged.onnx", 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(damaged))] if rng.random() < 0.1 else damaged)
        try:
            ExportedModel(path)
            read += 1
        except ArtifactError as error:
            assert error.fix and error.what.isprintable()
    assert read > 10, "most bytes are weights: such a file can be read"


def test_reading_what_was_read_changes_nothing_more(tmp_path):
    first = read_export(saved(mlp(opset=9, ir=4), tmp_path / "first.onnx"))
    again = read_export(saved(first.model, tmp_path / "again.onnx"))
    assert first.notes and not again.notes
    assert first.model.graph == again.model.graph
