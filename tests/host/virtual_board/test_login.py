"""Logging in to a virtual board by hand: OpenSSH, with a terminal and without."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from labd_host.virtual_board import login, virtual_board
from support.patience import eventually

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client: ssh")


@pytest.fixture(scope="module")
def board(labd_home, board_python):
    return virtual_board.up("74", python=board_python)


def run(arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False, **options)


def test_the_printed_line_logs_in_with_nothing_of_the_users_own(board, tmp_path):
    found = run(
        ["sh", "-c", login.command_line(board) + " 'echo $USER; exit 4'"],
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (found.stdout, found.returncode) == ("xilinx\n", 4), found.stderr


def test_one_argument_is_a_line_and_several_are_words(board, capfd):
    assert login.ssh(board, ["echo a  b | tr a-z A-Z; exit 3"]) == 3
    assert login.ssh(board, ["printf", "%s|", "a  b", "c;d"]) == 0
    assert capfd.readouterr().out == "A B\na  b|c;d|"


def test_a_shell_has_a_terminal_of_the_clients_size(board):
    ours, theirs = pty.openpty()
    try:
        login_to = subprocess.Popen(
            [*login.arguments(board, terminal=True)],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.write(ours, b"stty cols 91 rows 33; tty; stty size; echo $TERM; exit 5\n")
        out, err = login_to.communicate(timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)
    assert login_to.returncode == 5, err
    assert b"/dev/pts/" in out and b"33 91" in out


def test_what_a_shell_started_ends_with_its_terminal(board):
    command = [*login.arguments(board)[:-1], "-tt", login.arguments(board)[-1]]
    run([*command, "sleep 60 & echo $! > left-over; tty; exit"], stdin=subprocess.DEVNULL)
    pid = int(next(board.root.rglob("left-over")).read_text())
    eventually("the sleep is gone", lambda: not Path(f"/proc/{pid}").exists())
