"""CIFAR-10 and CIFAR-100 from the archives of their authors, and from hostile ones."""

import gzip
import os
import pickle
import tarfile

import numpy as np
import pytest

from labd_shared import cifar
from labd_shared.datasets import (
    DATASETS,
    missing_files,
    official_files,
    open_packed,
    read_official,
    write_packed,
)
from labd_shared.errors import ArtifactError, DataDamaged, DataMissing
from support.cifar_files import members, pickled, split_of, write_archive, write_official

NAMES = ["cifar10", "cifar100"]
KINDS = ["binary", "python"]


def form_of(name, kind):
    return next(form for form in DATASETS[name].forms if form.kind == kind)


def unpack(folder, files):
    """What tar makes of the archive."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def listing(folder):
    return sorted(str(path.relative_to(str(folder))) for path in folder.rglob("*"))


@pytest.mark.parametrize("split", ["test", "train"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_an_archive_gives_images_and_labels_and_is_not_unpacked(tmp_path, name, kind, split):
    write_official(tmp_path, name, kind)
    images, labels = read_official(tmp_path, name, split)
    wanted_images, wanted_labels = split_of(name, split)
    assert images.dtype == labels.dtype == np.uint8
    assert np.array_equal(images, wanted_images) and np.array_equal(labels, wanted_labels)
    assert listing(tmp_path) == [form_of(name, kind).archive]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_unpacked_folder_gives_the_same(tmp_path, name, kind):
    unpack(tmp_path, members(name, kind))
    images, labels = read_official(tmp_path, name, "test")
    wanted_images, wanted_labels = split_of(name, "test")
    assert np.array_equal(images, wanted_images) and np.array_equal(labels, wanted_labels)


def test_pixels_lie_in_planes_behind_the_coarse_and_the_fine_label(tmp_path):
    """A reader of 3073-byte records would be off by one."""
    files = members("cifar100", "binary")
    pixels = bytes([10]) * 1024 + bytes([20]) * 1024 + bytes([30]) * 1024
    files["cifar-100-binary/test.bin"] = bytes([11, 19]) + pixels  # large_omnivores_and_herbivores, cattle
    write_archive(tmp_path / "cifar-100-binary.tar.gz", files)
    images, labels = read_official(tmp_path, "cifar100", "test")
    assert labels.tolist() == [19] and DATASETS["cifar100"].class_names[19] == "cattle"
    assert images.shape == (1, 32, 32, 3) and np.unique(images.reshape(-1, 3), axis=0).tolist() == [
        [10, 20, 30]
    ]


def test_the_binary_form_is_preferred_and_named_when_none_is_there(tmp_path):
    assert missing_files(tmp_path, "cifar10", "test") == ["cifar-10-binary.tar.gz"]
    with pytest.raises(
        DataMissing, match=r"cifar-10-binary.tar.gz is not in .*, nor cifar-10-python.tar.gz"
    ) as caught:
        official_files(tmp_path, "cifar10", "test")
    assert "LABD_DATASETS to a folder that has cifar10/cifar-10-binary.tar.gz" in caught.value.fix
    python = write_official(tmp_path, "cifar10", "python")
    assert official_files(tmp_path, "cifar10", "test") == (python,)
    assert missing_files(tmp_path, "cifar10", "train") == []
    binary = write_official(tmp_path, "cifar10", "binary")
    assert official_files(tmp_path, "cifar10", "test") == (binary,)


def test_an_unpacked_folder_that_lacks_a_file_is_not_there(tmp_path):
    unpack(tmp_path, members("cifar10", "binary"))
    (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").unlink()
    assert missing_files(tmp_path, "cifar10", "test") == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_training_images_says_so_when_they_are_asked_for(tmp_path, kind):
    write_official(tmp_path, "cifar100", kind, splits=("test",))
    assert len(read_official(tmp_path, "cifar100", "test")[1]) == 20
    with pytest.raises(DataMissing, match="cifar-100-{0}.tar.gz holds no cifar-100-{0}/train".format(kind)):
        read_official(tmp_path, "cifar100", "train")
    write_official(tmp_path, "cifar100", "python" if kind == "binary" else "binary")
    assert len(read_official(tmp_path, "cifar100", "train")[1]) == 50


def test_the_classes_of_cifar_100_belong_to_twenty_coarse_ones_five_each():
    spec = DATASETS["cifar100"]
    assert (len(spec.class_names), len(spec.coarse_names)) == (100, 20)
    assert np.bincount(spec.coarse_of).tolist() == [5] * 20
    named = dict(zip(spec.class_names, (spec.coarse_names[label] for label in spec.coarse_of)))
    assert (named["maple_tree"], named["worm"]) == ("trees", "non-insect_invertebrates")


def damaged_archive(folder, name, kind, file_name, change):
    files = members(name, kind)
    path = form_of(name, kind).folder + "/" + file_name
    files[path] = change(files[path])
    return write_archive(folder / form_of(name, kind).archive, files)


def with_label(value, column=0):
    return lambda data: data[:column] + bytes([value]) + data[column + 1 :]


@pytest.mark.parametrize(
    "name, kind, file_name, change, words",
    [
        (
            "cifar10",
            "binary",
            "test_batch.bin",
            lambda data: data[:-1],
            "has 61459 bytes, cifar10 has records of 3073",
        ),
        ("cifar10", "binary", "test_batch.bin", lambda data: b"", "has 0 bytes, cifar10 has records of 3073"),
        ("cifar100", "binary", "test.bin", lambda data: data[:-1], "cifar100 has records of 3074"),
        ("cifar10", "binary", "test_batch.bin", with_label(10), "holds label 10, cifar10 has 10 classes"),
        ("cifar100", "binary", "test.bin", with_label(100, 1), "holds label 100, cifar100 has 100 classes"),
        (
            "cifar100",
            "binary",
            "test.bin",
            with_label(99),
            "says coarse class 99 of image 0, but .* belongs to",
        ),
        (
            "cifar10",
            "binary",
            "batches.meta.txt",
            lambda data: data.replace(b"cat", b"dog"),
            "does not name the 10",
        ),
        (
            "cifar100",
            "binary",
            "coarse_label_names.txt",
            lambda data: data[1:],
            "does not name the 20 classes",
        ),
        (
            "cifar100",
            "python",
            "meta",
            lambda data: data.replace(b"apple", b"appel"),
            "does not name the 100",
        ),
        (
            "cifar10",
            "python",
            "batches.meta",
            lambda data: pickled({b"x": 1}),
            "does not name the 10 classes",
        ),
        (
            "cifar10",
            "python",
            "test_batch",
            lambda data: data[:-9],
            "no pickle of this data set: it ends early",
        ),
        (
            "cifar10",
            "python",
            "test_batch",
            lambda data: pickled({b"labels": []}),
            "no array of images of cifar10",
        ),
    ],
)
def test_damaged_content_is_refused(tmp_path, name, kind, file_name, change, words):
    damaged_archive(tmp_path, name, kind, file_name, change)
    with pytest.raises(DataDamaged, match=words):
        read_official(tmp_path, name, "test")


IMAGE = np.zeros((1, 3072), np.uint8)


@pytest.mark.parametrize(
    "record, words",
    [
        ({b"data": IMAGE[:, :-1], b"labels": [1]}, "no array of images of cifar10"),
        ({b"data": [1], b"labels": [1]}, "no array of images of cifar10"),
        ({b"data": IMAGE, b"labels": [300]}, "no labels from 0 to 255"),
        ({b"data": IMAGE, b"labels": [b"1"]}, "no labels from 0 to 255"),
        ({b"data": IMAGE}, "no labels from 0 to 255"),
        ({b"data": IMAGE, b"labels": [1, 2]}, "holds 1 images and 2 labels"),
        ({b"data": IMAGE, b"labels": [10]}, "holds label 10, cifar10 has 10 classes"),
    ],
)
def test_a_batch_of_another_structure_is_refused(tmp_path, record, words):
    damaged_archive(tmp_path, "cifar10", "python", "test_batch", lambda data: pickled(record))
    with pytest.raises(DataDamaged, match=words):
        read_official(tmp_path, "cifar10", "test")


class Touches(object):
    """A pickle of this makes a file when it is read as Python reads pickles."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, ("touch '{}'".format(self.path),)


@pytest.mark.parametrize("file_name", ["test_batch", "batches.meta"])
def test_an_archive_with_a_pickle_that_calls_os_system_runs_nothing(tmp_path, file_name):
    mark = tmp_path / "it ran"
    evil = pickle.dumps({b"data": Touches(mark)}, protocol=2)
    archive = damaged_archive(tmp_path, "cifar10", "python", file_name, lambda data: evil)
    with pytest.raises(
        DataDamaged, match=file_name + " is no pickle of this data set: it asks for posix.system"
    ):
        read_official(tmp_path, "cifar10", "test")
    assert listing(tmp_path) == [archive.name]


def entry(name, kind, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_a_link_or_device_under_an_expected_name_is_refused(tmp_path, kind):
    files = members("cifar10", "binary")
    del files["cifar-10-batches-bin/test_batch.bin"]
    evil = entry("cifar-10-batches-bin/test_batch.bin", kind, "/etc/passwd")
    write_archive(tmp_path / "cifar-10-binary.tar.gz", files, [evil])
    with pytest.raises(DataDamaged, match="test_batch.bin in cifar-10-binary.tar.gz is no plain file"):
        read_official(tmp_path, "cifar10", "test")
    assert listing(tmp_path) == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("prefix", ["/", "../", "./", "x/", "cifar-10-batches-bin/../"])
def test_another_path_is_not_taken_for_the_expected_one(tmp_path, prefix):
    files = {prefix + name: content for name, content in members("cifar10", "binary").items()}
    write_archive(tmp_path / "in" / "cifar-10-binary.tar.gz", files)
    with pytest.raises(
        DataDamaged, match="holds no cifar-10-batches-bin/test_batch.bin, cifar-10-batches-bin/batches"
    ):
        read_official(tmp_path / "in", "cifar10", "test")
    assert listing(tmp_path) == ["in", "in/cifar-10-binary.tar.gz"]


def test_other_members_are_passed_over_and_too_many_refused(tmp_path):
    files = {"/absolute": b"x", "../outside": b"y"}
    files.update(members("cifar10", "binary"))
    write_archive(tmp_path / "cifar-10-binary.tar.gz", files, [entry("link", tarfile.SYMTYPE, "/etc/passwd")])
    assert len(read_official(tmp_path, "cifar10", "test")[1]) == 20
    many = [entry("file{}".format(number), tarfile.REGTYPE) for number in range(100)]
    write_archive(tmp_path / "cifar-10-binary.tar.gz", {}, many)
    with pytest.raises(DataDamaged, match="has more than 64 members"):
        read_official(tmp_path, "cifar10", "test")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar._Unzipped, "left_bytes", 1 << 20)
    files = {"padding": bytes(2 << 20)}
    files.update(members("cifar10", "binary"))
    write_archive(tmp_path / "cifar-10-binary.tar.gz", files)
    with pytest.raises(DataDamaged, match="unpacks to more than"):
        read_official(tmp_path, "cifar10", "test")


def test_a_member_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    huge = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    huge.size = 1 << 32
    with gzip.open(str(tmp_path / "cifar-10-binary.tar.gz"), "wb") as handle:
        handle.write(huge.tobuf())
    with pytest.raises(DataDamaged, match="has 4294967296 bytes, more than"):
        read_official(tmp_path, "cifar10", "test")


def test_an_unpacked_file_that_is_too_large_is_refused(tmp_path):
    unpack(tmp_path, members("cifar10", "binary"))
    with open(str(tmp_path / "cifar-10-batches-bin" / "test_batch.bin"), "r+b") as handle:
        handle.truncate(1 << 40)
    with pytest.raises(ArtifactError, match="has 1099511627776 bytes, more than"):
        read_official(tmp_path, "cifar10", "test")


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive_and_a_file_that_is_none_are_refused(tmp_path, kind):
    path = write_official(tmp_path, "cifar10", kind)
    data = path.read_bytes()
    for damaged in (
        data[:-20000],
        data[: len(data) // 2],
        data[:20],
        b"",
        b"no archive at all",
        gzip.compress(b"x"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataDamaged, match=path.name):
            read_official(tmp_path, "cifar10", "test")


def test_a_packed_split_has_the_coarse_labels_beside_the_labels(tmp_path):
    images, labels = split_of("cifar100", "test")
    folder = write_packed(tmp_path, DATASETS["cifar100"], "test", images, labels)
    assert listing(folder) == ["coarse.u8", "images.u8", "index.json", "labels.u8"]
    with open_packed(tmp_path, "cifar100", "test") as dataset:
        assert np.array_equal(dataset.labels, labels)
        assert dataset.coarse.tolist() == [dataset.spec.coarse_of[label] for label in labels]
        out = np.zeros((7, 3072), np.uint8)
        dataset.read_into(13, out)
        assert np.array_equal(out.reshape(7, 32, 32, 3), images[13:])
        dataset.verify()
    coarse = (folder / "coarse.u8").read_bytes()
    (folder / "coarse.u8").write_bytes(bytes([(coarse[0] + 1) % 20]) + coarse[1:])
    with pytest.raises(DataDamaged, match="coarse.u8 and labels.u8 in .* do not belong together"):
        open_packed(tmp_path, "cifar100", "test")
    (folder / "coarse.u8").unlink()
    with pytest.raises(DataDamaged, match="coarse.u8 in .* has -1 bytes"):
        open_packed(tmp_path, "cifar100", "test")


def test_cifar_10_has_no_coarse_labels(tmp_path):
    folder = write_packed(tmp_path, DATASETS["cifar10"], "test", *split_of("cifar10", "test"))
    assert listing(folder) == ["images.u8", "index.json", "labels.u8"]
    with open_packed(tmp_path, "cifar10", "test") as dataset:
        assert dataset.coarse is None and dataset.frame_values == 3072


def test_labels_that_are_no_classes_are_not_packed(tmp_path):
    images, labels = split_of("cifar100", "test")
    with pytest.raises(DataDamaged, match="holds label 119, cifar100 has 100 classes"):
        write_packed(tmp_path, DATASETS["cifar100"], "test", images, labels // 5 + 100)
    assert not (tmp_path / "cifar100").exists()


@pytest.mark.parametrize("name, each", [("cifar10", 1000), ("cifar100", 100)])
def test_the_real_test_split_is_the_same_from_both_forms(official_archives, tmp_path, name, each):
    read = []
    for form in DATASETS[name].forms:
        (tmp_path / form.kind).mkdir()
        (tmp_path / form.kind / form.archive).symlink_to(official_archives(name, form.archive))
        read.append(read_official(tmp_path / form.kind, name, "test"))
    (images, labels), (other_images, other_labels) = read
    assert images.shape == (10000, 32, 32, 3) and np.bincount(labels).tolist() == [each] * (10000 // each)
    assert np.array_equal(images, other_images) and np.array_equal(labels, other_labels)


def test_the_real_training_split_is_the_same_from_both_forms(official_archives, tmp_path):
    folder = official_archives("cifar10", "cifar-10-python.tar.gz").parent
    images, labels = read_official(folder, "cifar10", "train")
    assert images.shape == (50000, 32, 32, 3) and np.bincount(labels).tolist() == [5000] * 10
    (tmp_path / "cifar-10-python.tar.gz").symlink_to(folder / "cifar-10-python.tar.gz")
    other_images, other_labels = read_official(tmp_path, "cifar10", "train")
    assert np.array_equal(images, other_images) and np.array_equal(labels, other_labels)
