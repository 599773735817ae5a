"""Data sets of a user's own on the host: npz:, dir:, NAME.toml, random, and those that bundles were built with."""

import numpy as np
import pytest

import labd
from labd_host import datasets
from labd_host.bundles.golden_samples import PER_CLASS, draw_golden, golden_samples
from labd_host.datasets.definition import short_name
from labd_host.golden.golden_model import GoldenModel
from labd_shared.answers import predicted_classes
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import (
    ArtifactError,
    DataDamaged,
    DataMissing,
    DatatypeError,
    ShapeError,
    UnknownName,
    UsageError,
)
from labd_shared.frame_form import PIXEL, FrameForm
from labd_shared.manifest import InputContract
from labd_shared.tensors import make_tensor
from support.odd_networks import DataflowGraph, LabelSelect, product, thresholding

DIGIT = FrameForm("net", (28, 28, 1), PIXEL)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def digits(rng):
    images = rng.randint(0, 256, (30, 28, 28)).astype(np.uint8)
    np.savez("My Digits.npz", images=images, labels=np.arange(30) % 10)
    return images


def test_arrays_are_a_data_set_by_the_name_of_their_file(digits):
    found = datasets.read("npz:My Digits.npz", "test", DIGIT)
    assert np.array_equal(found.images[..., 0], digits) and found.labels.tolist() == list(range(10)) * 3
    spec = found.spec
    assert (spec.name, spec.image_shape, spec.class_names) == ("my-digits", (28, 28, 1), tuple("0123456789"))
    assert (spec.datatype, spec.scale, spec.offset, spec.forms) == ("UINT8", 1 / 255, 0.0, ())
    assert datasets.describe("npz:My Digits.npz") == spec, "its own shape where no network is known"
    assert not found.images.flags.writeable, "who reads it next gets the same array"


def test_an_array_file_that_was_changed_is_read_again(digits):
    datasets.load("npz:My Digits.npz", "test")
    np.savez("My Digits.npz", images=digits[:7], labels=np.zeros(7, int))
    assert len(datasets.load("npz:My Digits.npz", "test")[1]) == 7


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("My Digits.npz", "my-digits"),
        ("mnist.npz", "own-mnist"),
        ("_.npz", "data"),
        ("a..b", "a"),
        ("Ü.x", "data"),
    ],
)
def test_names_are_such_as_bundles_and_boards_take(tmp_path, file, name):
    assert short_name(tmp_path / file) == name


def test_one_file_may_hold_both_splits(rng):
    x, y = rng.randint(0, 256, (8, 5, 4, 3)).astype(np.uint8), np.arange(8) % 2
    np.savez("both.npz", x_train=x[:5], y_train=y[:5], x_test=x[5:], y_test=y[5:])
    assert [len(datasets.load("npz:both.npz", split)[1]) for split in ("train", "test")] == [5, 3]
    ours = labd.dataset("npz:both.npz")
    assert (ours.name, ours.image_shape, ours.class_names) == ("both", (5, 4, 3), ("0", "1"))
    assert repr(ours.train) == "<Split train: 5 images, 5 x 4 x 3>" and len(ours.test) == 3
    assert ours._repr_html_().count("<img") == 3


def test_without_a_training_split_it_cannot_be_trained_on(digits):
    with pytest.raises(DataMissing, match="no train images; it has: images, labels"):
        datasets.load("npz:My Digits.npz", "train")
    with pytest.raises(UnknownName, match="no split of npz:.* named 'validation'"):
        datasets.load("npz:My Digits.npz", "validation")


def pictures(folder, names, shape=(28, 28)):
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        np.save(str(folder / name / "p.npy"), np.full(shape, label, np.uint8))


def test_folders_are_a_data_set_and_a_flat_network_takes_their_pictures(tmp_path):
    pictures(tmp_path / "pets", ["cat", "dog"])
    for form in (None, DIGIT, FrameForm("net", (784,), PIXEL)):
        found = datasets.read("dir:pets", "test", form)
        assert (found.images.shape, found.spec.class_names) == ((2, 28, 28, 1), ("cat", "dog"))
    with pytest.raises(DataDamaged, match=r"uint8 \(1, 28, 28\), net takes uint8 \(n, 700\)"):
        datasets.read("dir:pets", "test", FrameForm("net", (700,), PIXEL))


def test_a_network_s_classes_order_the_folders(tmp_path):
    pictures(tmp_path / "pets", ["cat"])
    form = DIGIT._replace(class_names=("dog", "cat"))
    assert datasets.load("dir:pets", "test", form)[1].tolist() == [1]


# NAME.toml.


def test_a_file_says_of_what_a_data_set_is_made(tmp_path, rng):
    values = rng.randint(-128, 128, (6, 12)).astype(np.int64)
    (tmp_path / "sub").mkdir()
    np.savez("sub/values.npz", x=values, y=np.array(["b", "a"] * 3))
    (tmp_path / "sub" / "Mine.toml").write_text(
        'name = "sensor"\nclasses = ["a", "b"]\nshape = [12]\ndatatype = "INT8"\nscale = 0.5\noffset = -1\n'
        'test = "npz:values.npz"\n'
    )
    found = datasets.read("sub/Mine.toml", "test", FrameForm("net", (12,), parse_datatype("INT8")))
    assert found.images.dtype == np.int8 and np.array_equal(found.images, values)
    assert found.labels.tolist() == [1, 0] * 3
    spec = found.spec
    assert (spec.name, spec.class_names, spec.datatype) == ("sensor", ("a", "b"), "INT8")
    assert (spec.scale, spec.offset) == (0.5, -1.0)
    with pytest.raises(DataMissing, match="Mine.toml has no train images"):
        datasets.load("sub/Mine.toml", "train")


def test_two_folders_have_the_same_classes_though_one_lacks_a_class(tmp_path):
    pictures(tmp_path / "train", ["a", "b", "c"])
    pictures(tmp_path / "test", ["c"])
    (tmp_path / "d.toml").write_text('test = "dir:test"\ntrain = "dir:train"\n')
    assert datasets.read("d.toml", "test").spec.class_names == ("a", "b", "c")
    assert datasets.load("d.toml", "test")[1].tolist() == [2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is neither test nor train"),
        ("tset = 'npz:x'", "did you mean 'test'|tset is unknown"),
        ("test = 'x.npz'", "npz:FILE or dir:FOLDER is wanted"),
        ("test = 'npz:x'\nname = 'mnist'", "one of labd's own data sets"),
        ("test = 'npz:x'\nname = '../x'", "a name of a to z"),
        ("test = 'npz:x'\nshape = [3, 3]", r"\[height, width, channels\] or \[values\] is wanted"),
        ("test = 'npz:x'\nshape = [60000, 60000, 3]", "at most"),
        ("test = 'npz:x'\ndatatype = 'FLOAT32'", "no datatype named 'FLOAT32'"),
        ("test = 'npz:x'\nscale = nan", "finite"),
        ("test = [", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_field(tmp_path, text, words):
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises((ArtifactError, UnknownName), match=words):
        datasets.read("d.toml", "test")


def test_a_file_that_fits_another_network_says_so(tmp_path, digits):
    (tmp_path / "d.toml").write_text('test = "npz:My Digits.npz"\nshape = [28, 28, 1]\ndatatype = "UINT8"\n')
    with pytest.raises(ShapeError, match="frames of 28 x 28 x 1, net takes 32 x 32 x 3"):
        datasets.read("d.toml", "test", FrameForm("net", (32, 32, 3), PIXEL))
    with pytest.raises(DatatypeError, match="values of UINT8, net takes INT8"):
        datasets.read("d.toml", "test", FrameForm("net", (784,), parse_datatype("INT8")))


def test_paths_in_a_network_s_file_are_from_its_folder_or_from_here(tmp_path, digits):
    (tmp_path / "sub").mkdir()
    np.savez("sub/inside.npz", images=digits, labels=np.zeros(30))
    assert datasets.located("npz:inside.npz", tmp_path / "sub") == f"npz:{tmp_path}/sub/inside.npz"
    assert datasets.located("npz:My Digits.npz", tmp_path / "sub") == f"npz:{tmp_path}/My Digits.npz"
    assert [datasets.located(name, tmp_path) for name in ("mnist", "random")] == ["mnist", "random"]


# Random ones, and those kept here.


@pytest.mark.parametrize(
    ("shape", "datatype"), [((28, 28, 1), None), ((128,), "INT8"), ((9,), "BINARY"), ((9,), "BIPOLAR")]
)
def test_random_frames_are_the_same_for_the_same_network_and_have_no_labels(shape, datatype):
    form = FrameForm("net", shape, parse_datatype(datatype) if datatype else None)
    found = datasets.read("random", "test", form)
    kind = form.datatype or PIXEL
    assert found.images.shape == (1000, *shape) and set(found.labels) == {-1}
    assert (int(found.images.min()), int(found.images.max())) == (kind.low, kind.high)
    assert np.array_equal(found.images, datasets.read("random", "test", form).images)
    assert found.spec.name.startswith("random-") and datasets.keep(found, "test").is_dir()
    with pytest.raises(UsageError, match="none is known"):
        datasets.read("random", "test")


def test_what_a_bundle_was_built_with_is_found_by_its_name(digits):
    found = datasets.read("npz:My Digits.npz", "test", DIGIT)
    with pytest.raises(UnknownName, match="no dataset named 'my-digits'") as caught:
        datasets.read("my-digits", "test")
    assert "npz:FILE" in caught.value.fix
    datasets.keep(found, "test")
    again = datasets.read("my-digits", "test", FrameForm("net", (784,), PIXEL))
    assert np.array_equal(again.images, found.images) and np.array_equal(again.labels, found.labels)
    assert again.spec.class_names == found.spec.class_names
    with pytest.raises(ShapeError, match="28 x 28 x 1, net takes 10"):
        datasets.read("my-digits", "test", FrameForm("net", (10,), PIXEL))
    with pytest.raises(UnknownName):
        datasets.read("../my-digits", "test")


def test_wrong_arrays_are_refused_with_both_shapes_before_anything_runs(digits):
    with pytest.raises(DataDamaged, match=r"\(30, 28, 28\), net takes uint8 \(n, 32, 32, 3\)"):
        datasets.read("npz:My Digits.npz", "test", FrameForm("net", (32, 32, 3), PIXEL))
    with pytest.raises(DataMissing, match=r"there is no none\.npz"):
        datasets.read("npz:none.npz", "test")


# Golden samples of any input.


@pytest.mark.parametrize(
    ("datatype", "normal"),
    [
        ("INT8", (1, 16)),
        ("BINARY", (1, 16)),
        ("UINT4", (1, 16)),
        ("UINT8", (1, 12, 12, 3)),
        ("INT16", (1, 16)),
    ],
)
def test_golden_samples_are_drawn_for_any_datatype_and_shape(rng, datatype, normal):
    values = int(np.prod(normal))
    kind = parse_datatype(datatype)
    layers = (
        product("a", values, 3, 1, (datatype, "INT4", "INT32")),
        LabelSelect("l", 3, 1, "INT32", "UINT2"),
    )
    arrays = {"a.weights": rng.randint(-7, 8, (values, 3)).astype(np.int64)}
    if kind.bits == 1:
        layers = (thresholding("t", values, 1, datatype, "BIPOLAR", offset=-1), *layers)
        layers = (layers[0], product("a", values, 3, 1, ("BIPOLAR", "INT4", "INT32")), layers[2])
        arrays["t.thresholds"] = np.full((values, 1), 1)
    source = make_tensor("in0", datatype, normal, (1, values), "NHWC" if len(normal) == 4 else "NC", "idma0")
    sink = make_tensor("out0", "UINT2", (1, 1), (1, 1), "NC", "odma0")
    model = GoldenModel(DataflowGraph("net", layers, (source,), (sink,), arrays), form="numpy")
    frames, answers = golden_samples(model, normal[1:])
    assert frames.shape[1:] == normal[1:] and kind.low <= frames.min() and frames.max() <= kind.high
    assert len(set(predicted_classes(answers))) > 1 and len(frames) <= 4 + 3 * PER_CLASS
    contract = InputContract("raw-uint8" if datatype == "UINT8" else "integers")
    drawn = draw_golden(model, "mine", contract)
    assert np.array_equal(drawn["outputs"], model.run(drawn["images"]).outputs[0]) and len(drawn["images"])


def test_a_class_that_no_image_shows_has_a_name_and_one_too_many_is_refused(digits):
    ten = DIGIT._replace(classes=12)
    assert datasets.read("npz:My Digits.npz", "test", ten).spec.class_names[9:] == ("9", "10", "11")
    assert datasets.read("random", "test", ten).spec.class_names == tuple(map(str, range(12)))
    assert len(datasets.read("npz:My Digits.npz", "test", DIGIT._replace(classes=784)).spec.class_names) == 10
    with pytest.raises(DataDamaged, match="my-digits has 10 classes, net tells 8 apart"):
        datasets.read("npz:My Digits.npz", "test", DIGIT._replace(classes=8))
