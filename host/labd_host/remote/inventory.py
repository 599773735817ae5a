"""Which boards there are: a rule, and the boards that differ from it.

The first of these is taken, and every command says which: the file ``LABD_BOARDS`` names, boards.toml
in the working directory, boards.toml in the user's configuration, the one labd ships (virtual only).
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from labd_host.machine import places
from labd_host.machine.toml_files import read_toml
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import BoardUnreachable, UnknownName, UsageError, unknown_name
from labd_shared.records import MAX_NAME, Origin, Value

VARIABLE = "LABD_BOARDS"
FILE_NAME = "boards.toml"
SHIPPED = Path(__file__).with_name(FILE_NAME)
KINDS = ("virtual", "real")
MAX_INVENTORY_BYTES = 1 << 20
_EXAMPLE = "see boards.ntu.example.toml"
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]*")
_NUMBER = re.compile(r"[0-9]{2}")
_RANGE = re.compile(r"([0-9]{2})-([0-9]{2})")


@dataclass(frozen=True)
class BoardEntry:
    """One board: where it is and how it is used.

    Attributes:
        number: Two digits, "03".
        kind: "virtual" or "real".
        host, port, user: Its SSH server. A virtual board's port comes from its state file.
        sudo: Whether what runs the accelerator needs root.
        python: The board's Python that has pynq.
        xilinx_xrt: Value of XILINX_XRT for root's commands, "" for none.
        model, part: What the board calls itself, and its device.
        keys: Private key files to log in with.
        look_for_keys, agent: Whether keys of ~/.ssh and of an SSH agent are tried too.
        password_login: Whether to log in with the password that sudo takes.
    """

    number: str
    kind: str
    host: str
    port: int
    user: str
    sudo: bool = False
    python: str = "python3"
    xilinx_xrt: str = ""
    model: str = "Pynq-Z2"
    part: str = PYNQ_Z2_PART
    keys: tuple[Path, ...] = ()
    look_for_keys: bool = False
    agent: bool = False
    password_login: bool = False


class VirtualState(Protocol):
    """What a running virtual board says of itself (`labd_host.virtual_board.board_state.State`)."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def user(self) -> str: ...
    @property
    def client_key(self) -> Path: ...


@dataclass(frozen=True)
class Inventory:
    """A read inventory.

    Attributes:
        path: The file.
        origin: Why this one was taken.
        rule: The rule's settings.
        listed: Settings of the boards that differ, by number.
    """

    path: Path
    origin: str
    rule: Mapping[str, Any]
    listed: Mapping[str, Mapping[str, Any]]

    def __str__(self) -> str:
        return f"{self.path} ({self.origin})"

    def numbers(self) -> tuple[str, ...]:
        """Every board's number, in order."""
        return tuple(sorted({*_range(self.rule, self.path), *self.listed}))

    def board(self, number: str) -> BoardEntry:
        """The board *number*.

        Raises:
            UnknownName: it is not two digits, or the inventory has no such board.
            UsageError: its settings are incomplete.
        """
        if not _NUMBER.fullmatch(number):
            near = f"{int(number):02d}" if re.fullmatch(r"[0-9]{1,4}", number) and int(number) < 100 else ""
            raise UnknownName(
                f"no board named {number!r}: a board is two digits, 00 to 99",
                fix=f"did you mean {near!r}?" if near else "list the boards: fab boards",
                name=number,
            )
        if number not in self.numbers():
            raise UnknownName(
                f"no board {number} in {self.path}, it has {_short(self.numbers())}",
                fix=f"add it there as [boards.{number}], or list the boards: fab boards",
                name=number,
            )
        settings = {name: value for name, value in self.rule.items() if name not in _RULE_ONLY}
        if "first_port" in self.rule:
            settings["port"] = self.rule["first_port"] + self.rule.get("port_step", 100) * int(number)
        settings |= self.listed.get(number, {})
        missing = [name for name in ("kind", "host", "port", "user") if name not in settings]
        if missing:
            raise UsageError(
                f"board {number} in {self.path} has no {', '.join(missing)}",
                fix=f"add it to [rule] or to [boards.{number}]",
            )
        settings["keys"] = tuple(Path(key).expanduser() for key in settings.get("keys", ()))
        return _checked(BoardEntry(number=number, **settings), self.path)


_RULE_ONLY = {"boards", "first_port", "port_step"}


def _texts(value: Value) -> list[str]:
    return [each.text(MAX_NAME) for each in value.list()]


def _line(value: Value) -> str:
    return value.text(MAX_NAME)


_READERS: dict[str, Callable[[Value], Any]] = {
    "kind": _line, "host": _line, "port": Value.integer, "user": _line, "sudo": Value.truth, "python": _line,
    "xilinx_xrt": _line, "model": _line, "part": _line, "keys": _texts, "look_for_keys": Value.truth,
    "agent": Value.truth, "password_login": Value.truth,
}  # fmt: skip
_RULE_READERS: dict[str, Callable[[Value], Any]] = {
    "boards": _line, "first_port": Value.integer, "port_step": Value.integer, **_READERS,
}  # fmt: skip


def find(environment: Mapping[str, str] | None = None, folder: Path | None = None) -> tuple[Path, str]:
    """The inventory file to take and why.

    Args:
        environment: Where ``LABD_BOARDS`` is looked up; the process's own when None.
        folder: The working directory; the process's own when None.

    Raises:
        UsageError: ``LABD_BOARDS`` names no file.
    """
    named = (os.environ if environment is None else environment).get(VARIABLE)
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise UsageError(
                f"{VARIABLE} names {path}, which is no file", fix=f"correct it, or: unset {VARIABLE}"
            )
        return path, VARIABLE
    here = (folder or Path.cwd()) / FILE_NAME
    if here.is_file():
        return here, "the working directory's"
    own = places.config() / FILE_NAME
    if own.is_file():
        return own, "the user's own"
    return SHIPPED, "shipped with labd: virtual boards only"


def load(environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Inventory:
    """Find and read the inventory; arguments as of `find`.

    Raises:
        UsageError: it is not TOML, or says something an inventory cannot say.
    """
    path, origin = find(environment, folder)
    record = read_toml(path, MAX_INVENTORY_BYTES, Origin(path.name, _EXAMPLE, UsageError))
    sections = record.fields((), ("rule", "boards"), "section")
    rule, boards = {}, {}
    if "rule" in sections:
        rule = _settings(sections["rule"], _RULE_READERS)
    if "boards" in sections:
        boards = sections["boards"].entries()
    for number in boards:
        if not _NUMBER.fullmatch(number):
            raise UsageError(
                f"{path}: [boards.{number}] is not two digits", fix="write [boards.03] for board 3"
            )
    listed = {number: _settings(settings, _READERS) for number, settings in boards.items()}
    _range(rule, path)
    return Inventory(path, origin, rule, listed)


def endpoint(
    board: BoardEntry, virtual_state: Callable[[str], VirtualState | None] | None = None
) -> BoardEntry:
    """*board* as it can be reached now: a virtual board's port and key come from its state file.

    Args:
        board: From the inventory.
        virtual_state: Finds a running virtual board; `labd_host.virtual_board.board_state.load` when None.

    Raises:
        BoardUnreachable: the virtual board is down.
    """
    if board.kind != "virtual":
        return board
    if virtual_state is None:
        from labd_host.virtual_board.board_state import load

        virtual_state = load
    state = virtual_state(board.number)
    if state is None:
        raise BoardUnreachable(
            f"virtual board {board.number} is down",
            fix=f"start it: labd board up {board.number}",
            board=board.number,
        )
    return replace(board, host=state.host, port=state.port, user=state.user, keys=(state.client_key,))


def _range(rule: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    text = rule.get("boards", "00-99" if rule else "")
    if not text:
        return ()
    match = _RANGE.fullmatch(text)
    if not match or int(match[1]) > int(match[2]):
        raise UsageError(f"{path}: boards = {text!r} is no range", fix='write boards = "01-16"')
    return tuple(f"{number:02d}" for number in range(int(match[1]), int(match[2]) + 1))


def _short(numbers: tuple[str, ...]) -> str:
    return ", ".join(numbers) if len(numbers) <= 8 else f"{numbers[0]} to {numbers[-1]}"


def _settings(value: Value, readers: Mapping[str, Callable[[Value], Any]]) -> dict[str, Any]:
    found = value.fields((), readers, f"setting of [{value.path}]")
    return {name: readers[name](setting) for name, setting in found.items()}


def _checked(board: BoardEntry, path: Path) -> BoardEntry:
    """Refuse what no board can be; names are checked because they end in commands and file names."""
    where = f"board {board.number} in {path}"
    if board.kind not in KINDS:
        raise unknown_name(f"kind of {where}", board.kind, KINDS)
    if not 0 < board.port < 65536:
        raise UsageError(f"{where}: port {board.port} is not in 1 to 65535", fix="correct first_port or port")
    for name, pattern in (("host", _HOST), ("user", _USER)):
        if not pattern.fullmatch(getattr(board, name)):
            raise UsageError(f"{where}: {name} {getattr(board, name)!r} is no {name} name", fix="correct it")
    for field in fields(board):
        value = getattr(board, field.name)
        if isinstance(value, str) and not value.isprintable():
            raise UsageError(f"{where}: {field.name} {value!r} is not printable", fix="correct it")
    if not board.python or board.python.startswith("-"):
        raise UsageError(f"{where}: python {board.python!r} is no program", fix='write python = "python3"')
    return board
