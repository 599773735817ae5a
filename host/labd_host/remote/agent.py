"""A session with a board's agent: it holds the board's lock and does what is done to files there.

The agent (the modules in board_agent/) is sent as one text when the session opens, so it works before
anything is deployed. When the session ends, however it ends, the agent frees the lock and takes back what was
not confirmed.
"""

import getpass
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from labd_host.remote.transport import Connection
from labd_shared.errors import BoardError, BoardLost, CommandTimeout, ToolNotFound, from_wire
from labd_shared.wire import load_line

AGENT = Path(__file__).with_name("board_agent")
_AGENT_IMPORT = re.compile(
    r"^from labd_host\.remote\.board_agent\.(\w+) import (?:\([^)]*\)|.*)\n", re.MULTILINE
)
GOODBYE_S = 1.0
ANSWER_S = 60.0  # hashing and syncing a whole release on a slow SD card


@cache
def agent_text() -> str:
    """The agent's modules as one text, each behind those that it imports, for ``python3 -c``."""
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        source = (AGENT / f"{name}.py").read_text()
        for imported in _AGENT_IMPORT.findall(source):
            if imported not in parts:
                add(imported)
        parts[name] = _AGENT_IMPORT.sub("", source)

    add("service")
    return "\n".join(parts.values())


class Session:
    """Requests to the agent of one board, one at a time.

    Args:
        connection: To the board.
        root: Whether the agent runs through sudo, where the inventory says that the board needs it.

    Attributes:
        hello: What the agent said of the board: root, python, machine, model, free_bytes, release,
            manifest, history, owner.
    """

    def __init__(self, connection: Connection, *, root: bool = False) -> None:
        self.connection = connection
        argv = [connection.board.python, "-u", "-c", agent_text()]
        self._process = connection.start_unguarded(argv, "labd's agent", root=root)
        self.hello: dict[str, Any] = {}
        self.hello = self.ask("hello")

    def ask(self, do: str, *, deadline_s: float = ANSWER_S, **arguments: Any) -> dict[str, Any]:
        """Have the agent do something; its answer.

        Raises:
            LabdError: what the agent answered instead: BoardBusy, BoardDiskFull, DigestMismatch, BoardError.
            BoardLost: the link broke.
            CommandTimeout: no answer within *deadline_s*.
            ToolNotFound: the board has no such Python.
        """
        process, board = self._process, self.connection.board
        process.stdout.kept.clear()
        process.write_line(json.dumps({"do": do, "with": arguments}))
        limit_s = time.monotonic() + deadline_s
        while not process.stdout.kept:
            if not process.pump(0.2) and not process.stdout.kept:
                raise self._ended()
            if time.monotonic() > limit_s:
                raise CommandTimeout(
                    f"board {board.number} did not {do} within {deadline_s:g} s",
                    fix=f"look at the board: fab boards --board {board.number}",
                    board=board.number,
                )
        said = process.stdout.kept[0]  # the agent's answer is one line: a line before it is somebody else's
        answer = load_line(said)
        if answer is not None and isinstance(answer.get("labd_error"), dict):
            error = from_wire(answer["labd_error"])
            error.facts["board"] = board.number
            error.fix = error.fix.replace("--board NN", f"--board {board.number}")
            raise error
        if answer is None or not isinstance(answer.get("answer"), dict):
            raise BoardError(
                f"board {board.number} answered {said[:80]!r} where labd's agent should",
                fix=f"something prints when {board.python} starts there; see: ssh -p {board.port} "
                f"{board.user}@{board.host} {board.python} -c pass",
                board=board.number,
            )
        result: dict[str, Any] = answer["answer"]
        return result

    def _ended(self) -> BoardError | ToolNotFound:
        process, board = self._process, self.connection.board
        process.stderr.feed(b"", final=True)
        said = [line for line in process.stderr.kept if line.strip()]
        if self.connection.lost():
            return process.broken()
        if process.channel.recv_exit_status() in (126, 127):
            return ToolNotFound(
                f"board {board.number} has no {board.python}: {said[-1] if said else 'it does not start'}",
                fix=f"name its Python in the inventory: [boards.{board.number}] python = ...",
                board=board.number,
            )
        return BoardLost(
            f"labd's agent on board {board.number} ended: {said[-1] if said else 'it said nothing'}",
            fix=f"look at the board: fab boards --board {board.number}; then do the same again",
            board=board.number,
            stderr_tail=said[-12:],
        )

    def lock(self, what: str) -> None:
        """Take the board for this session.

        Raises:
            BoardBusy: somebody else has it; the error names the owner.
        """
        self.ask("lock", who=who(), since=now(), what=what)

    def close(self) -> None:
        """End the session; the agent frees the lock, and is given a moment for it."""
        if not self.connection.lost():
            self._process.end_input()
            until_s = time.monotonic() + GOODBYE_S
            while self._process.pump(0.1) and time.monotonic() < until_s:
                pass
        self.connection.stop(self._process)


def who() -> str:
    """This user on this machine, as others see the owner of a lock."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """The host's time in UTC: a board without a clock of its own has none to trust."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@contextmanager
def session(connection: Connection, *, root: bool = False) -> Iterator[Session]:
    """An open session, closed at the end."""
    opened = Session(connection, root=root)
    try:
        yield opened
    finally:
        opened.close()
