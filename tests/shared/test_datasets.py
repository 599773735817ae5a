import gzip
import json
import struct

import numpy as np
import pytest

from labd_shared.datasets import (
    DATASETS,
    PackedDataset,
    dataset_spec,
    open_packed,
    read_official,
    write_packed,
)
from labd_shared.errors import DataDamaged, DataMissing, ShapeError, UnknownName


def idx(array):
    return (
        struct.pack(">BBBB", 0, 0, 8, array.ndim)
        + struct.pack(">{}I".format(array.ndim), *array.shape)
        + array.tobytes()
    )


@pytest.fixture
def images(rng):
    return rng.randint(0, 256, (30, 28, 28, 1)).astype(np.uint8)


@pytest.fixture
def labels():
    return (np.arange(30) % 10).astype(np.uint8)


@pytest.fixture
def official(tmp_path, images, labels):
    """The two files of a small test split, one zipped and one not."""
    with gzip.open(str(tmp_path / "t10k-images-idx3-ubyte.gz"), "wb") as handle:
        handle.write(idx(images.reshape(-1, 28, 28)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_the_official_files_give_images_and_labels(official, images, labels):
    got_images, got_labels = read_official(official, "mnist", "test")
    assert np.array_equal(got_images, images) and np.array_equal(got_labels, labels)


def test_the_real_test_split_is_what_it_should_be(mnist_test):
    images, labels = mnist_test
    assert images.shape == (10000, 28, 28, 1) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_missing_files_are_named_with_what_to_do(tmp_path):
    with pytest.raises(DataMissing, match="t10k-images-idx3-ubyte.gz is not in") as caught:
        read_official(tmp_path, "mnist", "test")
    assert "LABD_DATASETS" in caught.value.fix


def test_unknown_data_sets_and_splits_offer_the_nearest(tmp_path):
    with pytest.raises(UnknownName, match="no dataset named 'mnits'") as caught:
        dataset_spec("mnits")
    assert caught.value.fix == "did you mean 'mnist'?"
    with pytest.raises(UnknownName, match="no split of mnist named 'tset'"):
        read_official(tmp_path, "mnist", "tset")


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda data: data[:-1], "its header says 30"),
        (lambda data: data + b"x", "its header says 30"),
        (lambda data: b"\0\0\x08\x03" + data[4:], "no idx file of bytes with 1 axes"),
        (lambda data: b"", "begins with nothing"),
        (lambda data: data[:-1] + b"\x0a", "label 10, mnist has 10 classes"),
        (lambda data: idx(np.zeros(29, np.uint8)), "30 images and t10k-labels-idx1-ubyte 29 labels"),
    ],
)
def test_damaged_labels_are_refused(official, damage, words):
    file = official / "t10k-labels-idx1-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataDamaged, match=words):
        read_official(official, "mnist", "test")


def test_a_truncated_gz_is_refused(official):
    file = official / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataDamaged, match="t10k-images"):
        read_official(official, "mnist", "test")


def test_images_of_another_size_are_refused(official):
    with gzip.open(str(official / "t10k-images-idx3-ubyte.gz"), "wb") as handle:
        handle.write(idx(np.zeros((30, 32, 32), np.uint8)))
    with pytest.raises(DataDamaged, match=r"images of \(32, 32\), not 28 x 28"):
        read_official(official, "mnist", "test")


def test_a_packed_split_streams_into_a_buffer(tmp_path, images, labels):
    write_packed(tmp_path, DATASETS["mnist"], "test", images, labels)
    with open_packed(tmp_path, "mnist", "test") as dataset:
        assert (dataset.name, dataset.count, dataset.frame_values) == ("mnist", 30, 784)
        assert np.array_equal(dataset.labels, labels)
        out = np.zeros((7, 16, 49), np.uint8)
        dataset.read_into(20, out)
        assert np.array_equal(out.reshape(7, 28, 28, 1), images[20:27])
        dataset.verify()


def test_a_packed_mnist_stays_what_boards_already_have(tmp_path, images, labels):
    """fab data compares the index on the board as text: no other key, no other file, no other version."""
    folder = write_packed(tmp_path, DATASETS["mnist"], "test", images, labels)
    index = json.loads((folder / "index.json").read_text())
    assert sorted(index.pop("sha256")) == ["images.u8", "labels.u8"]
    assert index == {
        "format": "labd-packed-dataset", "version": 1, "name": "mnist", "split": "test", "count": 30,
        "image_shape": [28, 28, 1],
    }  # fmt: skip
    with PackedDataset(folder) as dataset:
        assert dataset.coarse is None


def test_packing_again_replaces_the_split(tmp_path, images, labels):
    write_packed(tmp_path, DATASETS["mnist"], "test", images, labels)
    write_packed(tmp_path, DATASETS["mnist"], "test", images[:10], labels[:10])
    with open_packed(tmp_path, "mnist", "test") as dataset:
        assert dataset.count == 10
    assert sorted(path.name for path in (tmp_path / "mnist").iterdir()) == ["test"]


@pytest.mark.parametrize(
    "start, shape, words",
    [
        (25, (6, 784), "images 25 to 31 were asked for, mnist has 30"),
        (0, (2, 783), "cannot take images of 784 bytes"),
    ],
)
def test_a_buffer_that_does_not_fit_is_refused(tmp_path, images, labels, start, shape, words):
    write_packed(tmp_path, DATASETS["mnist"], "test", images, labels)
    with open_packed(tmp_path, "mnist", "test") as dataset:
        with pytest.raises(ShapeError, match=words):
            dataset.read_into(start, np.zeros(shape, np.uint8))


def test_what_does_not_fit_the_data_set_is_not_packed(tmp_path, images, labels):
    with pytest.raises(ShapeError, match=r"do not fit mnist"):
        write_packed(tmp_path, DATASETS["mnist"], "test", images.astype(np.float32), labels)
    with pytest.raises(ShapeError, match=r"do not fit mnist"):
        write_packed(tmp_path, DATASETS["mnist"], "test", images, labels[:-1])
    assert not (tmp_path / "mnist").exists()


def test_a_damaged_packed_split_is_refused(tmp_path, images, labels):
    folder = write_packed(tmp_path, DATASETS["mnist"], "test", images, labels)
    data = (folder / "images.u8").read_bytes()
    (folder / "images.u8").write_bytes(data[:-1])
    with pytest.raises(DataDamaged, match="images.u8 in .* has 23519 bytes, the index says 23520"):
        PackedDataset(folder)
    (folder / "images.u8").write_bytes(data[:-1] + b"\x01")
    with PackedDataset(folder) as dataset:
        with pytest.raises(DataDamaged, match="does not have the digest of its index"):
            dataset.verify()
    index = json.loads((folder / "index.json").read_text())
    for change in ({"version": 9}, {"count": "x"}, {"sha256": 3}):
        (folder / "index.json").write_text(json.dumps(dict(index, **change)))
        with pytest.raises(DataDamaged):
            PackedDataset(folder)
    (folder / "index.json").unlink()
    with pytest.raises(DataMissing, match="no packed data set"):
        PackedDataset(folder)
