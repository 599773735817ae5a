"""A home of the tests' own, a virtual board in it, and the commands as a user types them."""

import gzip
import struct

import numpy as np
import pytest

from labd_host import environments
from labd_host.bundles.golden_samples import draw_strokes
from labd_host.golden.golden_model import GoldenModel
from labd_host.virtual_board import board_state, virtual_board
from support.paths import SHIPPED_BUNDLE
from support.shell import BOARD, Shell

DRAWN = 300


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A LABD_HOME with the board environment of this machine, or a skip; with FINN's driver's where it is."""
    made = {}
    for name in ("board", "peer"):
        wanted = environments.environment(name)
        if environments.is_ready(wanted, environments.folder(wanted)):
            made[name] = environments.folder(wanted)
    if "board" not in made:
        pytest.skip("needs the board environment with pynq: make setup")
    folder = tmp_path_factory.mktemp("home")
    (folder / "environments").mkdir()
    for each in made.values():
        (folder / "environments" / each.name).symlink_to(each)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_HOME", str(folder))
        yield folder
        for board in board_state.known_boards():
            virtual_board.down(board)


@pytest.fixture(scope="module")
def drawn_data(tmp_path_factory):
    """A folder with MNIST's official files, but of images drawn here; every tenth label is wrong."""
    rng = np.random.RandomState(7)
    images = np.array([draw_strokes(rng, 28, 28, 1) for _ in range(DRAWN)])
    labels = GoldenModel.load(SHIPPED_BUNDLE / "network.npz").run(images.reshape(DRAWN, 784)).outputs[0][:, 0]
    labels[::10] = (labels[::10] + 1) % 10
    folder = tmp_path_factory.mktemp("data") / "mnist"
    folder.mkdir()
    for name, array in (("t10k-images-idx3", images.reshape(DRAWN, 28, 28)), ("t10k-labels-idx1", labels)):
        head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        with gzip.open(folder / f"{name}-ubyte.gz", "wb") as handle:
            handle.write(head + array.astype(np.uint8).tobytes())
    return folder.parent


@pytest.fixture(scope="module")
def shell(home, drawn_data):
    return Shell(home, drawn_data)


@pytest.fixture(scope="module")
def deployed(shell):
    """Board 61 is up and has the shipped bundle."""
    assert shell.labd("board", "up", BOARD).code == 0
    said = shell.fab("deploy", "--board", BOARD, "--bundle", str(SHIPPED_BUNDLE))
    assert said.code == 0, said.err
    return shell
