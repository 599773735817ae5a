"""The same pixels and labels as finn-dataset-loading 0.0.5, the loaders behind FINN's own validate.py.

Skipped by name where that package is not installed: it wants six, which nothing else here does.
"""

import gzip
import struct

import numpy as np
import pytest

from labd_shared.datasets import DATASETS, read_official
from support.cifar_files import members, split_of

pytest.importorskip("six", reason="needs finn-dataset-loading 0.0.5 and six")
pytest.importorskip("dataset_loading", reason="needs finn-dataset-loading 0.0.5")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_what_finn_s_loader_makes_of_it(tmp_path, name):
    from dataset_loading.cifar import load_cifar_data

    for path, content in members(name, "python").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    theirs = load_cifar_data(str(tmp_path), cifar10=name == "cifar10", val_size=0, one_hot=False)
    for split, (images, labels) in {"train": theirs[0:2], "test": theirs[2:4]}.items():
        our_images, our_labels = read_official(tmp_path, name, split)
        assert np.array_equal(our_images, images) and np.array_equal(our_labels, labels)
        assert len(our_labels) == len(split_of(name, split)[1])


def test_mnist_is_what_finn_s_loader_makes_of_it(tmp_path, rng):
    from dataset_loading.mnist import load_mnist_data

    for split, count in (("train", 30), ("test", 20)):
        image_name, label_name = DATASETS["mnist"].forms[0].files[split]
        images, labels = rng.randint(0, 256, (count, 28, 28)), rng.randint(0, 10, count)
        for file_name, array in ((image_name, images), (label_name, labels)):
            head = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
            (tmp_path / file_name).write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))
    theirs = load_mnist_data(str(tmp_path), val_size=0, one_hot=False)
    for split, (images, labels) in {"train": theirs[0:2], "test": theirs[2:4]}.items():
        our_images, our_labels = read_official(tmp_path, "mnist", split)
        assert np.array_equal(our_images, images) and np.array_equal(our_labels, labels)
