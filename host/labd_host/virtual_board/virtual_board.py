"""Virtual boards with the light body: start, stop, list.

No root and nothing to install but pip packages: a process of ours serves SSH on 127.0.0.1, commands
run in a Python of the board's own, and a second process is the programmable logic.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from labd_host import environments
from labd_host.machine import locks, processes
from labd_host.machine.child import unmarked
from labd_host.machine.listener import SILENT, Listener
from labd_host.virtual_board import board_root, board_state, daemon
from labd_host.virtual_board.board_env.labd_virtual_board.link import VARIABLE, Link, VirtualBoardError
from labd_host.virtual_board.board_state import VirtualBoardState
from labd_host.virtual_board.logic_faults import check_faults
from labd_shared.errors import BoardError, from_wire

IDLE_S = 2 * 3600.0
START_TIMEOUT_S = 30.0
UP_TIMEOUT_S = 900.0  # another process may have to make the board's environment first
END_TIMEOUT_S = 8.0
LOG_NAME = "board.log"


def up(
    board: str,
    *,
    faults: Iterable[str] = (),
    idle_s: float = IDLE_S,
    python: Path | None = None,
    listener: Listener = SILENT,
) -> VirtualBoardState:
    """Start a board and wait until one can log in; a board that runs already is left as it is.

    Args:
        board: Its number, "03".
        faults: What goes wrong on it (`logic_faults.FAULTS`); a running board is told of them, too.
        idle_s: It ends by itself when nobody was logged in for so long.
        python: The Python of a board environment; the product's own when None, made if it is missing.
        listener: Told before anything slow starts.

    Raises:
        UnknownName: no such number or fault.
        SetupError: the board environment cannot be made, or another process keeps starting the board.
        BoardError: it does not answer in time.
    """
    wanted = check_faults(faults)
    where = board_state.folder(board)
    with locks.hold(where / "up.lock", UP_TIMEOUT_S, f"starting virtual board {board}"):
        running = board_state.load(board)
        if running is not None:
            if wanted:
                set_faults(board, wanted)
            return running
        board_root.prepare(where / "root", python or environments.ensure("board", listener=listener))
        return _start(board, wanted, idle_s)


def _start(board: str, faults: list[str], idle_s: float) -> VirtualBoardState:
    where = board_state.folder(board)
    command = [sys.executable, "-P", "-m", "labd_host.virtual_board.daemon", board, "--idle-s", str(idle_s)]
    for fault in faults:
        command += ["--fault", fault]
    log = where / LOG_NAME
    try:
        with log.open("wb") as output:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                # The board outlives this command, and whatever runs it.
                env=unmarked({name: value for name, value in os.environ.items() if name != VARIABLE}),
                start_new_session=True,
                timeout=START_TIMEOUT_S,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired:
        down(board)
        code = -1
    except KeyboardInterrupt:
        down(board)
        raise
    started = board_state.load(board) if code == 0 else None
    if started is None or not _answers(started):
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        last = re.sub(r"^[0-9-]{10} [0-9:,]+ ", "", lines[-1])  # without the time of day
        raise BoardError(
            f"virtual board {board} did not start (exit {code}): {last}",
            fix=f"read {log}, then again: labd board up {board}",
        )
    return started


def _answers(board: VirtualBoardState) -> bool:
    """Whether an SSH server answers where the board says."""
    try:
        with socket.create_connection((board.host, board.port), timeout=5.0) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def down(board: str) -> bool:
    """End a board and everything that runs on it; whether there was anything to end.

    Raises:
        UnknownName: no such number.
        BoardError: its daemon does not die.
    """
    where = board_state.folder(board)
    lock = where / board_state.LOCK_NAME
    was_up = locks.is_locked(lock)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _ends(lock, number):
            break
    else:
        raise BoardError(
            f"virtual board {board} does not end within {2 * END_TIMEOUT_S:g} s",
            fix=f"read {where / LOG_NAME}, then end its process yourself",
        )
    if where.is_dir():
        daemon.sweep(board)
        board_state.forget(board)
    return was_up


def _ends(lock: Path, number: signal.Signals) -> bool:
    """Send a signal to whoever holds *lock*, once; whether the lock is free in time."""
    deadline_s = time.monotonic() + END_TIMEOUT_S
    told = None
    while locks.is_locked(lock):
        holder = locks.holder(lock)
        if holder is not None and holder != told:
            processes.send([holder], number)
            told = holder
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def running() -> list[VirtualBoardState]:
    """The boards that run, by number."""
    found = [board_state.load(board) for board in board_state.known_boards()]
    return [board for board in found if board is not None]


def set_faults(board: str, faults: Iterable[str]) -> None:
    """Switch exactly these faults on, on a running board.

    Raises:
        UnknownName: no such fault.
        BoardError: the board does not run.
    """
    wanted = check_faults(faults)
    link = Link(str(board_state.logic_folder(board)))
    try:
        link.ask("faults", names=wanted)
    except VirtualBoardError as error:
        raise from_wire(error.labd_error) from error
    finally:
        link.close()
