"""Logging in to a virtual board by hand, with the user's own OpenSSH."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from labd_host.machine import hostkeys
from labd_host.virtual_board.board_state import VirtualBoardState
from labd_shared.errors import ToolNotFound


def arguments(board: VirtualBoardState, *, terminal: bool = False) -> list[str]:
    """The ssh command that logs in to *board*, its pinned host key checked and no other key offered."""
    return [
        "ssh",
        *(["-t"] if terminal else []),
        "-p",
        str(board.port),
        "-i",
        str(board.client_key),
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        f"UserKnownHostsFile={hostkeys.path()}",
        "-o",
        "StrictHostKeyChecking=yes",
        f"{board.user}@{board.host}",
    ]


def command_line(board: VirtualBoardState) -> str:
    """The same as a line to type."""
    return shlex.join(arguments(board))


def ssh(board: VirtualBoardState, command: Sequence[str] = ()) -> int:
    """Run *command* on *board*, or a shell where there is none; the exit code.

    Args:
        board: It runs.
        command: One line for the board's shell, or several words, each of which arrives as it is.

    Raises:
        ToolNotFound: OpenSSH's client is not on this machine.
    """
    if shutil.which("ssh") is None:
        raise ToolNotFound("there is no ssh on PATH", fix="install it: apt install openssh-client")
    line = list(command) if len(command) < 2 else [shlex.join(command)]
    asked = arguments(board, terminal=not command and sys.stdin.isatty())
    return subprocess.run([*asked, *line], check=False).returncode
