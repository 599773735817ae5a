"""Which virtual boards run, and where: one folder a board under the user's data folder.

A board runs while its daemon holds the lock of its folder. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from labd_host.machine import locks, places
from labd_host.machine.typed_records import find_record, write_record
from labd_shared.errors import UnknownName
from labd_shared.files import PRIVATE_FILE

HOST = "127.0.0.1"
LOCK_NAME, STATE_NAME = "lock", "state.json"
MAX_STATE_BYTES = 1 << 16


@dataclass(frozen=True)
class VirtualBoardState:
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


def load(board: str) -> VirtualBoardState | None:
    """The board's state while it runs and answers, else None."""
    where = folder(board)
    if not locks.is_locked(where / LOCK_NAME):
        return None
    return find_record(
        VirtualBoardState, where / STATE_NAME, MAX_STATE_BYTES
    )  # none: it is just starting or just ending


def save(state: VirtualBoardState) -> None:
    """Write the board's state in one step: it answers from now on."""
    write_record(folder(state.board) / STATE_NAME, state, PRIVATE_FILE)


def forget(board: str) -> None:
    """The board does not answer any more."""
    (folder(board) / STATE_NAME).unlink(missing_ok=True)
