"""Frames and pictures of a user's own: what is read, what is refused, and what the fix says."""

import io

import numpy as np
import pytest

from labd_shared.datasets import DatasetSpec, PackedDataset, write_packed
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import ArtifactError, DataDamaged, DataMissing, LabdError, ShapeError, UnknownName
from labd_shared.frame_form import PIXEL, FrameForm, frame_form, frames_of
from labd_shared.manifest import InputContract, parse_manifest
from labd_shared.own_arrays import read_own_arrays
from labd_shared.own_folders import read_own_folder
from labd_shared.picture_files import pictures_in
from labd_shared.pictures import PictureNotes, read_picture
from support.bundles import make_manifest

DIGIT, COLOUR = FrameForm("net", (28, 28, 1), PIXEL), FrameForm("net", (16, 12, 3), PIXEL)
NAMES = tuple("0123456789")


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image", reason="needs Pillow")


@pytest.fixture
def digits(rng):
    return rng.randint(0, 256, (20, 28, 28)).astype(np.uint8)


def refused(error, work, *arguments):
    with pytest.raises(error) as caught:
        work(*arguments)
    return str(caught.value)


# Layouts.


@pytest.mark.parametrize("shape", [(20, 28, 28), (20, 28, 28, 1), (20, 1, 28, 28), (20, 784)])
def test_one_channel_is_read_in_every_layout_that_says_the_same(digits, shape):
    frames, datatype = frames_of(digits.reshape(shape), DIGIT, "x.npz")
    assert (
        frames.shape == (20, 28, 28, 1)
        and np.array_equal(frames[..., 0], digits)
        and datatype.name == "UINT8"
    )


@pytest.mark.parametrize(
    "shape", [(20, 14, 56), (20, 56, 14, 1), (20, 28, 28, 3), (20, 783), (20, 2, 14, 28)]
)
def test_another_layout_is_refused_with_both_shapes(shape):
    told = refused(DataDamaged, frames_of, np.zeros(shape, np.uint8), DIGIT, "x.npz")
    assert str(shape) in told and "net takes uint8 (n, 28, 28, 1)" in told


def test_channels_first_are_refused_with_the_line_that_turns_them(rng):
    images = rng.randint(0, 256, (5, 16, 12, 3)).astype(np.uint8)
    told = refused(DataDamaged, frames_of, images.transpose(0, 3, 1, 2), COLOUR, "x.npz")
    assert "(5, 3, 16, 12), channels first" in told and "(n, 16, 12, 3)" in told
    assert told.endswith("fix: images = images.transpose(0, 2, 3, 1)")
    assert np.array_equal(frames_of(images.reshape(5, -1), COLOUR, "x.npz")[0], images)
    assert "channels first" in refused(DataDamaged, frames_of, images.transpose(0, 3, 1, 2), None, "x.npz")


def test_a_vector_takes_vectors_and_grey_pictures_of_as_many_values():
    form = FrameForm("net", (784,), PIXEL)
    assert frames_of(np.zeros((3, 784), np.uint8), form, "x")[0].shape == (3, 784)
    for shape in ((3, 28, 28), (3, 28, 28, 1), (3, 1, 28, 28)):
        assert frames_of(np.zeros(shape, np.uint8), form, "x")[0].shape == (3, 28, 28, 1)
    told = refused(DataDamaged, frames_of, np.zeros((3, 14, 14, 4), np.uint8), form, "x")
    assert "(3, 14, 14, 4)" in told and "(n, 784)" in told and "reshape(len(images), -1)" in told


# Values.


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.uint16, np.float64])
def test_whole_pixels_of_another_type_become_bytes(digits, kind):
    frames, _ = frames_of(digits.astype(kind), DIGIT, "x")
    assert frames.dtype == np.uint8 and np.array_equal(frames[..., 0], digits)


@pytest.mark.parametrize(
    "images, words",
    [
        (np.linspace(0, 1, 784), "from 0 to 1, net takes pixels of 0 to 255"),
        (np.arange(784) % 2 / 1.0, "from 0 to 1, net takes pixels"),
        (np.linspace(-2, 2, 784), "not whole numbers"),
        (np.full(784, np.nan), "not whole numbers"),
        (np.full(784, 300), "go from 300 to 300, net takes UINT8 (0 to 255)"),
        (np.full(784, -1), "go from -1 to -1"),
        (np.full(784, "a"), "net takes uint8 (n, 28, 28, 1)"),
    ],
)
def test_values_that_are_no_pixels_are_refused_with_what_they_are(images, words):
    assert words in refused(DataDamaged, frames_of, images.reshape(1, 28, 28), DIGIT, "x.npz")


def test_the_fix_of_scaled_pixels_is_the_line_that_scales_them_back(digits):
    told = refused(DataDamaged, frames_of, (digits / 255).astype(np.float32), DIGIT, "x.npz")
    line = told.split("fix: images = ")[1]
    images = (digits / 255).astype(np.float32)
    assert line == "(images * 255).round().astype(numpy.uint8)"
    assert np.array_equal((images * 255).round().astype(np.uint8), digits)


@pytest.mark.parametrize(
    "name, values, kind",
    [
        ("INT8", [-128, 0, 127], np.int8),
        ("BINARY", [0, 1, 1], np.uint8),
        ("UINT4", [0, 7, 15], np.uint8),
        ("BIPOLAR", [-1, 1, 1], np.int8),
        ("INT16", [-3000, 0, 3000], np.int16),
    ],
)
def test_values_of_the_network_s_own_type_are_taken(name, values, kind):
    form = FrameForm("net", (3,), parse_datatype(name))
    for given in (np.array([values]), np.array([values], np.float32)):
        frames, datatype = frames_of(given, form, "x")
        assert frames.tolist() == [values] and frames.dtype == kind and datatype.name == name
    beyond = np.array([values]) * 20000
    assert "net takes {} (".format(name) in refused(DataDamaged, frames_of, beyond, form, "x")


def test_bits_for_bipolar_are_refused_with_the_line_that_converts():
    form = FrameForm("net", (3,), parse_datatype("BIPOLAR"))
    told = refused(DataDamaged, frames_of, np.array([[0, 1, 1]]), form, "x")
    assert told.endswith("fix: images = 2 * images.astype(numpy.int8) - 1")


@pytest.mark.parametrize(
    "images, wanted",
    [
        (np.zeros((2, 5), np.int8), "INT8"),
        (np.zeros((2, 5), np.int64), "UINT8"),
        (np.full((2, 5), -3.0), "INT8"),
        (np.full((2, 5), 300), "UINT16"),
        (np.ones((2, 5), bool), "UINT8"),
    ],
)
def test_without_a_network_the_values_name_their_type(images, wanted):
    assert frames_of(images, None, "x")[1].name == wanted


# Labels.


def saved(tmp_path, **arrays):
    np.savez(str(tmp_path / "x.npz"), **arrays)
    return tmp_path / "x.npz"


@pytest.mark.parametrize("make", [
    lambda labels: labels[:, None], lambda labels: labels.astype(np.float32), lambda labels: labels.astype(str),
    lambda labels: labels.astype("S"), lambda labels: labels.astype(np.int64),
])  # fmt: skip
def test_labels_of_every_form_that_says_the_same_are_taken(tmp_path, digits, make):
    labels = np.arange(20) % 10
    found = read_own_arrays(saved(tmp_path, images=digits, labels=make(labels)), DIGIT, NAMES)
    assert found.labels.tolist() == labels.tolist() and found.labels.dtype == np.int64


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda labels: np.eye(10)[labels], "fix: labels = labels.argmax(axis=1)"),
        (lambda labels: labels + 1, "1 to 10, net has 10 classes\n  fix: labels = labels - 1"),
        (lambda labels: labels[:-1], "(19,), there are 20 images\n  fix: save as many labels"),
        (lambda labels: labels + 0.5, "not all of them numbers of classes"),
        (lambda labels: np.array(["cat"] * 20), "not all of them numbers of classes"),
        (lambda labels: labels - 1, "labels are -1 to 8"),
    ],
)
def test_labels_that_are_none_are_refused_with_advice_about_labels(tmp_path, digits, make, words):
    path = saved(tmp_path, images=digits, labels=make(np.arange(20) % 10))
    assert words in refused(DataDamaged, read_own_arrays, path, DIGIT, NAMES)


def test_texts_are_labels_where_they_are_names_of_classes(tmp_path, digits):
    path = saved(tmp_path, images=digits, labels=np.array(["dog", "cat"] * 10))
    assert read_own_arrays(path, DIGIT, ("cat", "dog")).labels.tolist() == [1, 0] * 10


def test_a_file_may_name_its_classes(tmp_path, digits):
    path = saved(tmp_path, images=digits, labels=np.arange(20) % 2, class_names=np.array(["cat", "dog"]))
    assert read_own_arrays(path, None, ()).class_names == ("cat", "dog")
    path = saved(tmp_path, images=digits, labels=np.arange(20) % 3)
    assert read_own_arrays(path, None, ()).class_names == ("0", "1", "2")


@pytest.mark.parametrize("names", [("x_test", "y_test"), ("X", "y"), ("test_images", "test_labels")])
def test_other_names_of_arrays_are_known(tmp_path, digits, names):
    path = saved(
        tmp_path, **{names[0]: digits, names[1]: np.zeros(20, int), "x_train": digits, "y_train": np.ones(20)}
    )
    assert read_own_arrays(path, DIGIT, NAMES).labels.tolist() == [0] * 20
    assert read_own_arrays(path, DIGIT, NAMES, "train", plain=False).labels.tolist() == [1] * 20


def test_a_file_without_a_training_part_says_what_it_has(tmp_path, digits):
    path = saved(tmp_path, images=digits, labels=np.zeros(20))
    told = refused(DataMissing, read_own_arrays, path, None, (), "train", 1 << 20, False)
    assert "no train images; it has: images, labels" in told and "x_train and y_train" in told


# Pictures.


def written(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(str(path), **options)
    return path


def test_grey_of_16_bits_is_divided_by_257(pillow, tmp_path, digits):
    notes = PictureNotes()
    path = written(tmp_path / "p.png", pillow.fromarray(digits[0].astype(np.uint16) * 257))
    assert np.array_equal(read_picture(path, DIGIT, notes)[:, :, 0], digits[0])
    assert "1 of 1 pictures: grey of 16 bits, divided by 257" in notes.lines(DIGIT)


def test_a_transparent_picture_is_composed_on_white(pillow, tmp_path, digits):
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[..., 3] = digits[0]
    notes = PictureNotes()
    found = read_picture(written(tmp_path / "p.png", pillow.fromarray(pixels)), DIGIT, notes)
    assert np.abs(found[:, :, 0].astype(int) - (255 - digits[0])).max() <= 1
    assert "1 of 1 pictures: transparent, composed on white" in notes.lines(DIGIT)


def test_an_opaque_picture_with_alpha_keeps_its_colours(pillow, tmp_path, rng):
    pixels = rng.randint(0, 256, (16, 12, 4)).astype(np.uint8)
    pixels[..., 3] = 255
    notes = PictureNotes()
    found = read_picture(written(tmp_path / "p.png", pillow.fromarray(pixels)), COLOUR, notes)
    assert np.array_equal(found, pixels[..., :3]) and notes.lines(COLOUR) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(pillow, tmp_path, orientation):
    if not hasattr(pillow, "Exif"):
        pytest.skip("this Pillow writes no EXIF")
    upright = np.zeros((40, 24), np.uint8)
    upright[:10, :6] = 255  # above on the left
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = pillow.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path / "p.jpg", pillow.fromarray(np.ascontiguousarray(stored)), exif=exif, quality=100)
    found = read_picture(path, FrameForm("net", (40, 24, 1), PIXEL), PictureNotes())[:, :, 0]
    assert np.abs(found.astype(int) - upright).mean() < 8


def test_changed_proportions_are_said(pillow, tmp_path):
    notes = PictureNotes()
    read_picture(written(tmp_path / "p.png", pillow.new("L", (84, 28))), DIGIT, notes)
    read_picture(written(tmp_path / "q.png", pillow.new("L", (280, 280))), DIGIT, notes)
    assert notes.lines(DIGIT) == ["1 of 2 pictures: squeezed, their proportions are not 28 x 28"]


def test_light_pictures_are_noted_for_a_network_of_one_channel(pillow, tmp_path):
    notes = PictureNotes()
    read_picture(written(tmp_path / "p.png", pillow.new("L", (28, 28), 240)), DIGIT, notes)
    assert len(notes.lines(DIGIT)) == 1 and "240 of 255" in notes.lines(DIGIT)[0]


def test_a_broken_picture_is_told_without_an_object_s_address(pillow, tmp_path):
    (tmp_path / "p.png").write_bytes(b"nothing like it")
    told = refused(ArtifactError, read_picture, tmp_path / "p.png", DIGIT, PictureNotes())
    assert "cannot identify image file" in told and " at 0x" not in told and "copy the file again" in told


def test_pictures_are_no_input_of_a_network_of_other_values(pillow, tmp_path):
    path = written(tmp_path / "p.png", pillow.new("L", (28, 28)))
    for form in (DIGIT._replace(datatype=parse_datatype("INT8")), FrameForm("net", (784,), PIXEL)):
        assert "not pixels of a picture" in refused(ShapeError, read_picture, path, form, PictureNotes())
    np.save(str(tmp_path / "v.npy"), np.arange(-3, 2))
    found = read_picture(tmp_path / "v.npy", FrameForm("net", (5,), parse_datatype("INT8")), PictureNotes())
    assert found.tolist() == [-3, -2, -1, 0, 1]


# Folders of classes.


def classes(folder, names, make=None):
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        np.save(str(folder / name / "p.npy"), np.full((28, 28), 10 * label, np.uint8))
    return folder


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    folder = classes(tmp_path / "mine", NAMES)
    for name in (".ipynb_checkpoints", "__MACOSX", "0/.ipynb_checkpoints", "0/more.png"):
        (folder / name).mkdir()
    for name in (
        "0/._p.npy", ".DS_Store", "0/Thumbs.db", "README.txt", ".ipynb_checkpoints/a.png",
        "0/.ipynb_checkpoints/p-checkpoint.png", "__MACOSX/a.png",
    ):  # fmt: skip
        (folder / name).write_bytes(b"no picture")
    assert read_own_folder(folder, DIGIT, NAMES).labels.tolist() == list(range(10))
    assert len(pictures_in([str(folder)])) == 10


@pytest.mark.parametrize(
    "names, classes_given, words",
    [
        ([str(n) for n in range(1, 11)], NAMES, "numbers from 0 are wanted"),
        ([str(n) for n in range(1, 11)], (), "numbered from 1 to 10, numbers from 0 are wanted"),
        (["appel"], ("apple", "pear"), "did you mean 'apple'?"),
        (["0", "99999999"], (), "10000 classes are taken at most"),
    ],
)
def test_folders_of_no_class_are_refused(tmp_path, names, classes_given, words):
    folder = classes(tmp_path / "mine", names)
    assert words in refused(UnknownName, read_own_folder, folder, DIGIT, classes_given)


def test_classes_one_folder_deeper_are_named(tmp_path):
    classes(tmp_path / "mine" / "test", NAMES)
    classes(tmp_path / "mine" / "train", NAMES)
    told = refused(DataMissing, read_own_folder, tmp_path / "mine", DIGIT, NAMES)
    wanted = tmp_path / "mine" / "test"
    assert "{} holds the classes".format(wanted) in told and "--dataset dir:{}".format(wanted) in told


def test_pictures_that_are_not_read_are_named(tmp_path):
    (tmp_path / "mine" / "0").mkdir(parents=True)
    (tmp_path / "mine" / "0" / "a.tif").write_bytes(b"II*")
    told = refused(DataMissing, read_own_folder, tmp_path / "mine", DIGIT, NAMES)
    assert "1 files of .tif, which labd does not read" in told


def test_folders_name_the_classes_where_nobody_else_does(tmp_path):
    found = read_own_folder(classes(tmp_path / "mine", ["dog", "cat"]), None, ())
    assert found.class_names == ("cat", "dog") and found.images.shape == (2, 28, 28, 1)
    found = read_own_folder(classes(tmp_path / "digits", [str(n) for n in range(12)]), None, ())
    assert found.class_names == tuple(str(n) for n in range(12)) and found.labels.tolist() == list(range(12))


def test_all_pictures_are_looked_at_and_the_broken_ones_counted(tmp_path):
    folder = classes(tmp_path / "mine", NAMES)
    for name in "347":
        (folder / name / "broken.npy").write_bytes(b"\x93NUMPY")
    told = refused(DataDamaged, read_own_folder, folder, DIGIT, NAMES)
    assert "3 of 13 pictures cannot be read" in told and "copy the files again" in told


def test_more_pictures_than_memory_are_refused(tmp_path):
    folder = classes(tmp_path / "mine", NAMES)
    assert "more than 1000" in refused(DataDamaged, read_own_folder, folder, DIGIT, NAMES, 1000)


# Packed, and in a manifest.


def test_own_data_is_packed_with_its_classes_and_datatype(tmp_path, rng):
    spec = DatasetSpec("mine", (5,), ("a", "b"), (), datatype="INT8")
    images = rng.randint(-128, 128, (30, 5)).astype(np.int8)
    labels = rng.randint(-1, 2, 30)
    write_packed(tmp_path, spec, "test", images, labels)
    with PackedDataset(tmp_path / "mine" / "test") as dataset:
        assert (dataset.spec, dataset.dtype, dataset.frame_values) == (spec, np.int8, 5)
        assert dataset.labels.tolist() == labels.tolist()
        out = np.empty((7, 5), np.int8)
        dataset.read_into(20, out)
        assert np.array_equal(out, images[20:27])
        dataset.verify()


@pytest.mark.parametrize("changed", [("INT8", "INT99"), ('"a"', "1"), ("5", "0")])
def test_a_damaged_index_of_own_data_is_refused(tmp_path, changed):
    spec = DatasetSpec("mine", (5,), ("a", "b"), (), datatype="INT8")
    folder = write_packed(tmp_path, spec, "test", np.zeros((3, 5), np.int8), np.zeros(3, int))
    index = folder / "index.json"
    index.write_text(index.read_text().replace(*changed))
    with pytest.raises(LabdError):
        PackedDataset(folder)


def test_a_manifest_keeps_frame_and_kind_of_an_own_input():
    contract = InputContract("integers", frame=(14, 7, 8))
    manifest = make_manifest({}, datatype="INT8", input_contract=contract, dataset="mine")
    form = frame_form(manifest)
    assert (form.shape, form.datatype.name) == ((14, 7, 8), "INT8")
    files = {name: {"sha256": "0" * 64, "size_bytes": 1} for name in ("accel.bit", "accel.hwh", "golden.npz")}
    text = manifest.to_json().replace('"files": {}', '"files": ' + str(files).replace("'", '"'))
    assert parse_manifest(text).input_contract == contract
    assert "frame is" in refused(LabdError, parse_manifest, text.replace("14,", "15,", 1))
    assert '"frame"' not in make_manifest({}).to_json()


def test_an_npz_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(io.BytesIO(b"PK no zip").getvalue())
    assert "x.npz cannot be read" in refused(ArtifactError, read_own_arrays, tmp_path / "x.npz", DIGIT, NAMES)
    path = saved(tmp_path, images=np.zeros((3, 28, 28), np.uint8), labels=np.array([1, "a", None], object))
    told = refused(DataDamaged, read_own_arrays, path, DIGIT, NAMES)
    assert "numbers or texts and no objects" in told and " at 0x" not in told
    assert "there is no" in refused(DataMissing, read_own_arrays, tmp_path / "y.npz", DIGIT, NAMES)
