"""Which virtual boards run, and where: one folder a board under the user's data folder.

A board runs while its daemon holds the lock of its folder. The kernel frees a lock when its holder
dies, so that no stale process number is ever believed. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labd_host.machine import places
from labd_shared.errors import UnknownName

HOST = "127.0.0.1"
LOCK_NAME, STATE_NAME = "lock", "state.json"
MAX_STATE_BYTES = 1 << 16
LOCK_PATIENCE_S = 2.0


@dataclass(frozen=True)
class State:
    """A running virtual board.

    Attributes:
        board: Its number, "03".
        host, port, user: Where and as whom to log in.
        pid: Of its daemon.
        root: Its / on this machine.
        client_key: The private key it lets in.
        started: When, as ISO 8601 in UTC.
    """

    board: str
    host: str
    port: int
    pid: int
    user: str
    root: Path
    client_key: Path
    started: str

    @property
    def logic(self) -> Path:
        """The folder of its programmable logic's socket."""
        return logic_folder(self.board)


def rule_port(board: str) -> int:
    """The port the lab's rule gives a board: 20000 + 100 * board."""
    return 20000 + 100 * int(checked(board))


def checked(board: str) -> str:
    """*board*, if it is a board's number.

    Raises:
        UnknownName: it is not two digits.
    """
    if re.fullmatch(r"[0-9]{2}", board):
        return board
    near = f"{int(board):02d}" if re.fullmatch(r"[0-9]{1,4}", board) and int(board) < 100 else ""
    raise UnknownName(
        f"no board named {board!r}: a board is two digits, 00 to 99",
        fix=f"did you mean {near!r}?" if near else "labd board list",
        name=board,
    )


def folder(board: str) -> Path:
    """A virtual board's own folder."""
    return places.home() / "boards" / checked(board)


def logic_folder(board: str) -> Path:
    """Where its programmable logic listens."""
    return folder(board) / "logic"


def known_boards() -> list[str]:
    """Boards that have a folder, running or not."""
    return sorted(path.parent.name for path in (places.home() / "boards").glob(f"[0-9][0-9]/{LOCK_NAME}"))


def load(board: str) -> State | None:
    """The board's state while it runs and answers, else None."""
    where = folder(board)
    if not is_locked(where / LOCK_NAME):
        return None
    try:
        with (where / STATE_NAME).open("rb") as handle:
            record = json.loads(handle.read(MAX_STATE_BYTES))
        return _parse(record)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None  # it is just starting or just ending


def _parse(record: dict[str, Any]) -> State:
    return State(
        board=str(record["board"]),
        host=str(record["host"]),
        port=int(record["port"]),
        pid=int(record["pid"]),
        user=str(record["user"]),
        root=Path(str(record["root"])),
        client_key=Path(str(record["client_key"])),
        started=str(record["started"]),
    )


def save(state: State) -> None:
    """Write the board's state in one step: it answers from now on."""
    path = folder(state.board) / STATE_NAME
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(asdict(state), default=str, indent=2) + "\n")
    beside.replace(path)


def forget(board: str) -> None:
    """The board does not answer any more."""
    (folder(board) / STATE_NAME).unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock *path*."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask do not see each other
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def holder(path: Path) -> int | None:
    """The process that holds the lock *path*, None where nobody does or it has not said so yet."""
    if not is_locked(path):
        return None
    try:
        process = int(path.read_text())
        # The number may be one of an earlier holder: only a process that has the file open is believed.
        open_files = [entry.readlink() for entry in Path(f"/proc/{process}/fd").iterdir()]
    except (OSError, ValueError):
        return None
    return process if path.resolve() in open_files else None


@contextlib.contextmanager
def locked(path: Path, patience_s: float = LOCK_PATIENCE_S) -> Iterator[bool]:
    """Hold the lock *path*; whether it was to be had within *patience_s*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _take(handle, time.monotonic() + patience_s)
    finally:
        os.close(handle)


def _take(handle: int, deadline_s: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
