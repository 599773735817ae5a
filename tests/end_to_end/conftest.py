"""A home of the tests' own, a virtual board in it, and the commands as a user types them."""

import gzip
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from labd_host import environments
from labd_host.emulation import state, virtual_board
from labd_host.emulation.golden import GoldenModel
from labd_host.hardware.golden_samples import draw_strokes
from support.paths import ROOT, SHIPPED_BUNDLE

BOARD = "61"
DRAWN = 300
COMMAND_S = 120.0


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


class Shell:
    """Types commands in *home*, standard input closed."""

    def __init__(self, home: Path, data: Path) -> None:
        self.home = home
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("host", "board", "shared")),
            "LABD_HOME": str(home),
            "LABD_CACHE": str(home / "cache"),
            "LABD_CONFIG": str(home / "config"),
            "LABD_DATASETS": str(data),
            "https_proxy": "http://127.0.0.1:9",  # nothing is fetched in a test
        }

    def _run(self, *command: str, **variables: str) -> Said:
        began_s = time.monotonic()
        ended = subprocess.run(
            command, env={**self.environment, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=COMMAND_S, cwd=self.home, check=False,
        )  # fmt: skip
        return Said(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - began_s)

    def labd(self, *arguments: str, **variables: str) -> Said:
        return self._run(sys.executable, "-m", "labd_host.cli.main", *arguments, **variables)

    def fab(self, *arguments: str, **variables: str) -> Said:
        return self._run(sys.executable, "-m", "fabric", "--search-root", str(ROOT), *arguments, **variables)

    def current(self, board: str = BOARD) -> str:
        """The release a board has."""
        running = state.load(board)
        return str((running.root / "home" / "xilinx" / "labd" / "current").readlink())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A LABD_HOME with the board environment of this machine, or a skip."""
    wanted = environments.environment("board")
    made = environments.folder(wanted)
    if not environments.is_ready(wanted, made):
        pytest.skip("needs the board environment with pynq: make setup")
    folder = tmp_path_factory.mktemp("home")
    (folder / "environments").mkdir()
    (folder / "environments" / made.name).symlink_to(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_HOME", str(folder))
        yield folder
        for board in state.known_boards():
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
