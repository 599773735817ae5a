"""Training on data of one's own: read here, kept packed for the training process, and found again afterwards."""

import numpy as np
import pytest

from labd_host import datasets
from labd_host.networks import launch, network
from labd_host.networks.launch import read_run
from labd_shared.errors import DataMissing, UsageError
from support.listeners import Kept
from support.paths import ROOT
from support.training import train_python

EXAMPLE = (ROOT / "docs" / "own-network.md").read_text().split("```toml\n")[1].split("```")[0]
NAME = "digits-w1a2"


@pytest.fixture
def here(tmp_path, monkeypatch, rng):
    """A network's file with its data beside it, both in a folder below the one that is worked in."""
    monkeypatch.setenv("LABD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "digits.toml").write_text(EXAMPLE.replace('"mnist"', '"npz:both.npz"'))
    x, y = rng.randint(0, 256, (30, 28, 28)).astype(np.uint8), np.arange(30) % 10
    np.savez("mine/both.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    return tmp_path


def arguments_of(folder, what, **options):
    """What the training process, a stand-in, is called with."""
    noted = Kept()
    python = train_python(folder / "python", NAME, "$*")
    launch.train(network(what), folder / "out", listener=noted, python=python, **options)
    return noted.said[-1]


def test_a_network_s_data_lie_beside_its_file_and_the_copy_finds_them(here):
    assert "--dataset both" in arguments_of(here, "mine/digits.toml")
    assert [len(datasets.load("both", split)[1]) for split in ("train", "test")] == [20, 10], "kept, packed"
    kept = network(str(here / "out" / f"{NAME}.toml"))
    assert kept.dataset == f"npz:{here}/mine/both.npz" == network("mine/digits.toml").dataset


def test_other_data_are_an_option_that_resuming_remembers(here, rng):
    x = rng.randint(0, 256, (8, 28, 28)).astype(np.uint8)
    np.savez("other.npz", x_train=x, y_train=np.arange(8), x_test=x, y_test=np.arange(8))
    assert "--dataset other" in arguments_of(here, "mine/digits.toml", dataset="npz:other.npz")
    assert read_run(here / "out").dataset == f"npz:{here}/other.npz"
    with pytest.raises(UsageError, match="has dataset npz:.*other.npz, asked for is npz:.*both.npz"):
        launch.train(network("mine/digits.toml"), here / "out", resume=True, dataset="npz:mine/both.npz")


def test_data_that_do_not_fit_are_refused_before_the_process_starts(here, rng):
    wanted = network("mine/digits.toml")
    x = rng.randint(0, 256, (12, 28, 28)).astype(np.uint8)
    np.savez("many.npz", x_train=x, y_train=np.arange(12), x_test=x, y_test=np.arange(12))
    with pytest.raises(UsageError, match=r"for 10 classes, npz:.*many\.npz has .* for 12"):
        launch.train(wanted, here / "out", dataset="npz:many.npz", python=here / "none")
    np.savez("test.npz", images=x, labels=np.arange(12) % 10)
    with pytest.raises(DataMissing, match="no train images; it has: images, labels"):
        launch.train(wanted, here / "out", dataset="npz:test.npz", python=here / "none")
