"""Fixtures shared by every part. Python 3.6 code: the board's tests run on the images' Pythons."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
for part in ("shared", "board", "host", "tests"):  # the images' Pythons have no labd installed
    if str(ROOT / part) not in sys.path:
        sys.path.append(str(ROOT / part))

from labd_shared.datasets import read_official  # noqa: E402


def pytest_addoption(parser):
    parser.addoption(
        "--board", metavar="NN", help="also run the hardware tests, on this board of the inventory"
    )


def pytest_make_parametrize_id(val):
    """A short name for a hostile file of 100,000 characters."""
    return ascii(val[:20]) + "..." if isinstance(val, (str, bytes)) and len(val) > 200 else None


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder with MNIST's official files, or a skip that says what is missing."""
    root = os.environ.get("LABD_DATASETS")
    if not root or not (Path(root) / "mnist").is_dir():
        pytest.skip("needs real MNIST: set LABD_DATASETS to a folder that has mnist/")
    return Path(root) / "mnist"


@pytest.fixture(scope="session")
def mnist_test(mnist_folder):
    """The real MNIST test split: images uint8 (10000, 28, 28, 1), labels uint8 (10000,)."""
    return read_official(mnist_folder, "mnist", "test")


@pytest.fixture(scope="session")
def official_archives():
    """A function: the path of a real archive of a data set, or a skip that says what is missing."""

    def path_of(name, archive):
        path = Path(os.environ.get("LABD_DATASETS") or "-") / name / archive
        if not path.is_file():
            pytest.skip(
                "needs real {0}: set LABD_DATASETS to a folder that has {0}/{1}".format(name, archive)
            )
        return path

    return path_of


@pytest.fixture
def rng():
    """Random numbers, the same every time (`default_rng` is not in numpy 1.16)."""
    return np.random.RandomState(20261123)
