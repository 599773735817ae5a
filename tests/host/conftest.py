"""Fixtures of the host's tests."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from labd_host import environments
from support.browser import find_browser


def ready_python(name):
    """The Python of a finished environment, or a skip: making one takes a minute and the network."""
    wanted = environments.environment(name)
    folder = environments.folder(wanted)
    if not environments.is_ready(wanted, folder):
        pytest.skip(f"needs the environment {name} with pynq: make setup, or set LABD_BOARD_PYTHON")
    return folder / "bin" / "python"


@pytest.fixture(scope="session", autouse=True)
def stages_of_this_session(tmp_path_factory):
    """No test uses a stage that an earlier session proved, and none is left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_STAGES", str(tmp_path_factory.mktemp("stages")))
        yield


@pytest.fixture(autouse=True)
def stages_of_this_test(stages_of_this_session, tmp_path_factory, monkeypatch):
    """Nor one that another test proved."""
    monkeypatch.setenv("LABD_STAGES", str(tmp_path_factory.getbasetemp() / "stages" / os.urandom(8).hex()))


@pytest.fixture(scope="session")
def board_python():
    """The Python of a board environment."""
    named = os.environ.get("LABD_BOARD_PYTHON")
    return Path(named) if named else ready_python("board")


@pytest.fixture(scope="session", params=["pynq 3.1.2", "pynq 3.0.1"])
def image_python(request):
    """The Pythons with the real pynq of the images that have one which runs here."""
    if request.param == "pynq 3.0.1":
        return ready_python("board30")
    return request.getfixturevalue("board_python")


@pytest.fixture(scope="session")
def browser():
    """A browser's program, or a skip that names what is missing."""
    return find_browser()


@pytest.fixture(scope="module")
def labd_home(tmp_path_factory):
    """A LABD_HOME of the module's own; every virtual board in it is ended afterwards."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_HOME", str(home))
        yield home
        from labd_host.virtual_board import board_state, virtual_board

        for board in board_state.known_boards():
            virtual_board.down(board)


@pytest.fixture(scope="session")
def proof_images():
    """16 images uint8 (16, 28, 28, 1): real ones where MNIST is there, else noise of every density."""
    from labd_shared.datasets import read_official

    root = os.environ.get("LABD_DATASETS")
    if root and (Path(root) / "mnist").is_dir():
        return read_official(Path(root) / "mnist", "mnist", "test")[0][:16]
    rng = np.random.default_rng(20261123)
    density = np.linspace(0.05, 0.95, 16)[:, None, None, None]
    bright = rng.random((16, 28, 28, 1)) < density
    noise = np.where(bright, rng.integers(128, 256, bright.shape), rng.integers(0, 128, bright.shape))
    return noise.astype(np.uint8)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory, proof_images):
    """tfc-w1a1 as shipped, through FINN with the lab's folding."""
    from labd_host.dataflow.folding import load_folding
    from labd_host.flow import compile_network
    from labd_host.networks import trained_onnx

    return compile_network(
        trained_onnx("tfc-w1a1"),
        folding=load_folding("lab", "tfc-w1a1"),
        out=tmp_path_factory.mktemp("compiled"),
        images=proof_images,
    )


@pytest.fixture
def ctrl_c():
    """A process started in the background ignores Ctrl-C, and so would these tests and what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """labd's folders, away from the user's."""
    for name in ("HOME", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"LABD_{name}", str(tmp_path / f"labd-{name.lower()}"))
    for name in ("BOARDS", "BUNDLE", "DATASETS", "SUDO_PASSWORD_FILE"):
        monkeypatch.delenv(f"LABD_{name}", raising=False)
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "no-data"))
    return tmp_path
