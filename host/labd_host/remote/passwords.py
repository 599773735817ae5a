"""The password sudo takes on a real board: asked for or read from a private file, and shown nowhere."""

import contextlib
import getpass
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

from labd_host.remote.inventory import BoardEntry
from labd_shared.errors import PermissionMissing

VARIABLE = "LABD_SUDO_PASSWORD_FILE"
MAX_PASSWORD_BYTES = 4096

_asking = threading.Lock()
_answers: dict[tuple[str, str], "Password"] = {}


class Password:
    """A secret that does not print: str, repr and tracebacks show stars."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Password(***)"

    def reveal(self) -> str:
        """The password itself, for the one line that sends it."""
        return self._text


def sudo_password(board: BoardEntry) -> Password:
    """The password of *board*'s user, asked for once per process and gateway.

    Raises:
        PermissionMissing: no file is named and nobody can be asked, or the file is open to others.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _read(Path(named).expanduser())
    with _asking:
        asked = (board.host, board.user)
        if asked not in _answers:
            _answers[asked] = _ask(board)
        return _answers[asked]


def _read(path: Path) -> Password:
    fix = f"chmod 600 {path}; it holds the password as its first line"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise PermissionMissing(f"{VARIABLE} names {path}: {error.strerror}", fix=fix) from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise PermissionMissing(
                f"{path} is not a private file of this user: its mode is {stat.S_IMODE(status.st_mode):03o}",
                fix=fix,
            )
        text = file.read(MAX_PASSWORD_BYTES).decode(errors="replace").split("\n")[0].rstrip("\r")
    if not text:
        raise PermissionMissing(f"{path} holds no password", fix=fix)
    return Password(text)


def _ask(board: BoardEntry) -> Password:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        raise PermissionMissing(
            f"board {board.number} asks for a password and there is no terminal to ask it on",
            fix=f"put it in a file of mode 600 and name that: export {VARIABLE}=FILE",
            board=board.number,
        ) from error
    return Password(getpass.getpass(f"password of {board.user} on board {board.number}: "))


def ask_ahead(boards: Iterable[BoardEntry], *, root: bool) -> None:
    """Ask now, in the main thread, for what boards that are worked on side by side may need.

    Where nobody can be asked this says nothing: the one that really needs a password does.
    """
    for board in boards:
        if board.password_login or (root and board.sudo):
            with contextlib.suppress(PermissionMissing):
                sudo_password(board)
