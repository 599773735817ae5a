"""Fixtures of the host's tests."""

import os
from pathlib import Path

import pytest

from labd_host import environments


@pytest.fixture(scope="session")
def board_python():
    """The Python of a board environment, or a skip: making one takes a minute and the network."""
    named = os.environ.get("LABD_BOARD_PYTHON")
    if named:
        return Path(named)
    board = environments.environment("board")
    folder = environments.folder(board)
    if not environments.is_ready(board, folder):
        pytest.skip("needs the board environment with pynq: make setup, or set LABD_BOARD_PYTHON")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def labd_home(tmp_path_factory):
    """A LABD_HOME of the module's own; every virtual board in it is ended afterwards."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_HOME", str(home))
        yield home
        from labd_host.emulation import state, virtual_board

        for board in state.known_boards():
            virtual_board.down(board)
