"""Pictures and data of one's own: classify, npz:PATH and dir:PATH."""

import builtins
import json
import tempfile

import numpy as np
import pytest

from labd_board import classify, validate
from labd_board import own_data as own
from labd_shared.errors import ArtifactError, DataDamaged, DataMissing, ShapeError, ToolNotFound, UnknownName
from labd_shared.frame_form import PIXEL, FrameForm, frame_form
from labd_shared.pictures import PictureNotes, picture_form
from labd_shared.pictures import read_picture as read_noted
from labd_shared.tensors import make_tensor
from support.bundles import darkness, fake_board, make_manifest, write_bundle

MNIST = (28, 28, 1)


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def bundle(tmp_path):
    return ["--bundle", str(write_bundle(tmp_path / "tiny"))]


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image", reason="needs Pillow")


def read_picture(path, shape, invert=False):
    return read_noted(path, FrameForm("tiny", shape, PIXEL), PictureNotes(), invert)


def own_data(name, manifest):
    return own.own_data(name, manifest, lambda line: None)


def grey(level, shape=MNIST):
    return np.full(shape, level, np.uint8)


def test_files_and_folders_are_classified_in_order_of_their_names(bundle, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    for name, level in (("b", 200), ("a", 30), ("c", 128)):
        np.save(str(tmp_path / "pictures" / (name + ".npy")), grey(level))
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    assert classify.main(bundle + ["--json", str(tmp_path / "pictures")], fake_board()) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)["images"]
    wanted = darkness(np.array([grey(30), grey(200), grey(128)]))[:, 0].tolist()
    assert [each["label"] for each in told] == wanted == [1, 7, 5]
    assert [each["class"] for each in told] == ["1", "7", "5"]
    assert captured.err.splitlines()[0].endswith("a.npy  1")


def test_the_five_best_classes_come_with_their_scores(tmp_path, capsys):
    outputs = (make_tensor("out0", "INT8", (1, 10), (1, 10, 1), "NC", "odma0"),)

    def model(images):
        return 50 - 3 * np.abs(np.arange(10) - darkness(images))

    folder = write_bundle(tmp_path / "scores", model=model, outputs=outputs)
    np.save(str(tmp_path / "a.npy"), grey(30))
    board = fake_board(model, make_manifest({}, outputs=outputs))
    assert classify.main(["--bundle", str(folder), str(tmp_path / "a.npy")], board) == 0
    assert capsys.readouterr().out.endswith("a.npy  1  (1 50, 0 47, 2 47, 3 44, 4 41)\n")


@pytest.mark.parametrize("size", [(28, 28), (300, 200), (5, 9)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_pictures_of_any_size_and_colour_are_brought_to_the_network_s(pillow, tmp_path, size, ending):
    pillow.new("RGB", size, (200, 200, 200)).save(str(tmp_path / ("p." + ending)))
    for shape in (MNIST, (32, 32, 3)):
        pixels = read_picture(tmp_path / ("p." + ending), shape)
        assert pixels.shape == shape and np.abs(pixels.astype(int) - 200).max() <= 2


def test_resizing_keeps_what_is_where(pillow, tmp_path):
    pixels = np.zeros((280, 280), np.uint8)
    pixels[:140, 140:] = 255  # bright above on the right
    pillow.fromarray(pixels).save(str(tmp_path / "p.png"))
    small = read_picture(tmp_path / "p.png", MNIST)[:, :, 0]
    assert small[:13, 15:].min() == 255 and small[15:].max() == 0 and small[:, :13].max() == 0
    assert np.array_equal(read_picture(tmp_path / "p.png", MNIST, invert=True)[:, :, 0], 255 - small)


def test_a_picture_of_the_right_size_keeps_every_pixel(pillow, tmp_path, rng):
    pixels = rng.randint(0, 256, (32, 32, 3)).astype(np.uint8)
    pillow.fromarray(pixels).save(str(tmp_path / "p.png"))
    np.save(str(tmp_path / "p.npy"), pixels)
    assert np.array_equal(read_picture(tmp_path / "p.png", (32, 32, 3)), pixels)
    assert np.array_equal(read_picture(tmp_path / "p.npy", (32, 32, 3)), pixels)


def test_without_pillow_the_error_says_what_to_do_and_npy_still_works(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **keywords):
        if name.split(".")[0] == "PIL":
            raise ImportError("No module named 'PIL'")
        return real(name, *rest, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "p.png").write_bytes(b"\x89PNG")
    np.save(str(tmp_path / "p.npy"), grey(3))
    with pytest.raises(ToolNotFound, match="p.png needs Pillow") as caught:
        read_picture(tmp_path / "p.png", MNIST)
    assert "python3-pil" in caught.value.fix and ".npy" in caught.value.fix
    assert np.array_equal(read_picture(tmp_path / "p.npy", MNIST), grey(3))


def test_damaged_pictures_are_named_before_the_board_is_touched(bundle, tmp_path, capsys):
    np.save(str(tmp_path / "floats.npy"), np.full((28, 28), 0.5))
    (tmp_path / "text.npy").write_text("hello")
    np.save(str(tmp_path / "objects.npy"), np.array([{}], object), allow_pickle=True)
    board = fake_board()
    for name in ("floats.npy", "text.npy", "objects.npy", "none.png"):
        assert classify.main(bundle + [str(tmp_path / name)], board) == 5
        assert name in capsys.readouterr().err
    assert board.programmed is None


def test_a_damaged_png_is_an_error_of_ours(pillow, tmp_path):
    pillow.new("L", (50, 50)).save(str(tmp_path / "p.png"))
    whole = (tmp_path / "p.png").read_bytes()
    (tmp_path / "p.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="p.png cannot be read as a picture"):
        read_picture(tmp_path / "p.png", MNIST)


def test_a_flat_input_of_an_unknown_data_set_is_no_picture():
    assert frame_form(make_manifest({})).shape == MNIST
    with pytest.raises(ShapeError, match="tiny takes 784 values, not pixels of a picture"):
        picture_form(frame_form(make_manifest({}, dataset="other")))


# Data sets of one's own.


def test_arrays_of_one_s_own_are_validated(bundle, tmp_path, rng, capsys):
    images = (rng.randint(0, 256, (57, 28, 28)) * rng.rand(57, 1, 1)).astype(np.uint8)
    labels = darkness(images)[:, 0]
    labels[:7] = (labels[:7] + 1) % 10
    np.savez(str(tmp_path / "mine.npz"), images=images, labels=labels)
    said = ["--dataset", "npz:{}".format(tmp_path / "mine.npz"), "--batchsize", "10", "--json"]
    assert validate.main(bundle + said, fake_board()) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["correct"], report["dataset"]) == (57, 50, "npz:mine.npz")


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"images": np.zeros((3, 784), np.uint8)}, "has no array labels; it has: images"),
        ({"images": np.full((3, 784), 0.5), "labels": np.zeros(3, int)}, "images are float64"),
        (
            {"images": np.zeros((3, 783), np.uint8), "labels": np.zeros(3, int)},
            r"images are uint8 \(3, 783\), tiny takes uint8 \(n, 28, 28, 1\)",
        ),
        (
            {"images": np.zeros((0, 784), np.uint8), "labels": np.zeros(0, int)},
            r"images are uint8 \(0, 784\), tiny takes",
        ),
        ({"images": np.zeros((3, 784), np.uint8), "labels": np.zeros(2, int)}, "there are 3 images"),
        (
            {"images": np.zeros((3, 784), np.uint8), "labels": np.array([0, 1, 10])},
            "tiny has 10 classes",
        ),
        ({"images": np.zeros((3, 784), np.uint8), "labels": np.array([0, 1, -1])}, "labels are -1 to 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(str(tmp_path / "mine.npz"), **arrays)
    with pytest.raises(DataDamaged, match=message):
        own_data("npz:{}".format(tmp_path / "mine.npz"), make_manifest({}))


def test_a_folder_for_each_class_is_validated(bundle, tmp_path, capsys):
    for name, level in (("1", 30), ("7", 200), ("5", 128)):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(3):
            np.save(str(tmp_path / "mine" / name / "{}.npy".format(number)), grey(level))
    np.save(str(tmp_path / "mine" / "7" / "wrong.npy"), grey(0))
    said = ["--dataset", "dir:{}".format(tmp_path / "mine"), "--batchsize", "4", "--json"]
    assert validate.main(bundle + said, fake_board()) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["correct"]) == (10, 9)
    assert [entry["samples"] for entry in report["per_class"]] == [0, 3, 0, 0, 0, 3, 0, 4, 0, 0]


def test_a_sub_folder_is_a_class_by_its_name_not_by_its_place(tmp_path):
    names = ("zebra", "apple")
    for name in names:
        (tmp_path / name).mkdir()
        np.save(str(tmp_path / name / "p.npy"), grey(1))
    manifest = make_manifest({}, class_names=names)
    assert own_data("dir:{}".format(tmp_path), manifest).labels.tolist() == [1, 0], (
        "apple comes first in the folder"
    )
    (tmp_path / "appel").mkdir()
    with pytest.raises(UnknownName, match="no class named 'appel'") as caught:
        own_data("dir:{}".format(tmp_path), manifest)
    assert caught.value.fix == "did you mean 'apple'?"


def test_an_empty_or_missing_folder_says_what_to_put_where(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataMissing, match="has no sub-folders with pictures") as caught:
            own_data("dir:{}".format(folder), make_manifest({}))
        assert "for example {}/0".format(folder) in caught.value.fix
    assert own_data("mnist", make_manifest({})) is None
