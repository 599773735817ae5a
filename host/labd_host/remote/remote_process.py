"""A command on a board: its lines as they come, its end, and the guard that makes it end.

Closing an SSH channel leaves the remote command running, and so do Fabric's timeout and Ctrl-C. So
every command runs under a guard that reads heart-beats from its standard input: the end of that
input, or silence, kills the command and all it started.
"""

import codecs
import contextlib
import select
import shlex
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labd_shared.errors import BoardError, BoardLost, CommandFailed, CommandTimeout
from labd_shared.wire import MAX_LINE_BYTES, find_error

SILENCE_S = 8  # without a heart-beat the guard kills; the host gives up earlier (transport.Deadlines)
LAST_WORDS_S = 2.0  # for output that is still on its way when the exit code is already here
KEPT_BYTES = 16 << 20
CHUNK_BYTES = 1 << 16
LineHandler = Callable[[str], None]

# The command gets no standard input: file 3 is the host's. Monitor mode (set -m) gives the command its
# own process group, and everything left of that group dies with it. bash's own words about jobs are no
# part of the command's standard error.
_GUARD = """exec 3<&0; set -m
{command} </dev/null 3<&- & p=$!
exec 2>/dev/null
( while IFS= read -r -t {silence} _ <&3; do :; done
  kill -TERM -- -$p; sleep 1; kill -KILL -- -$p ) >/dev/null & g=$!
wait $p; r=$?
kill -KILL -- -$g -$p
exit $r"""


def guarded(argv: Sequence[str], env: Mapping[str, str], *, root: bool = False) -> str:
    """The one string that runs *argv* on a board under the guard.

    Args:
        argv: Program and arguments; each is quoted.
        env: Variables for it.
        root: Through sudo, which reads the password from the first line of standard input.
    """
    command = shlex.join(["env", *(f"{name}={value}" for name, value in sorted(env.items())), *argv])
    guard = ["bash", "-c", _GUARD.format(command=command, silence=SILENCE_S)]
    return shlex.join([*SUDO, *guard] if root else guard)


SUDO = ("sudo", "-S", "-p", "", "--")


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code, the end of both streams (16 MiB each), and how long it took."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float


class Lines:
    """Bytes in, whole lines out; keeps the last `KEPT_BYTES` of them."""

    def __init__(self, handler: LineHandler | None = None) -> None:
        self._handler = handler
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._size = 0
        self.kept: deque[str] = deque()

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take *data*; *final* also gives out a last line without an end."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final)).split("\n")
        if final and self._rest or len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = ""
        for line in lines:
            self.kept.append(line)
            self._size += len(line) + 1
            while self._size > KEPT_BYTES and len(self.kept) > 1:
                self._size -= len(self.kept.popleft()) + 1
            # An error on its way to the host is raised there; nobody wants to read its JSON.
            if self._handler and not line.startswith('{"labd_error"'):
                self._handler(line)

    def text(self) -> str:
        """The kept lines."""
        return "".join(f"{line}\n" for line in self.kept)


class Process:
    """A command that runs on a board, over one SSH channel.

    Args:
        channel: A paramiko channel on which the command was started.
        board, what: For messages: the board's number and what runs there.
        lost: Why the link is gone, "" while it is alive.
        on_stdout_line, on_stderr_line: Told each line as it comes.
    """

    def __init__(
        self,
        channel: Any,
        board: str,
        what: str,
        lost: Callable[[], str],
        on_stdout_line: LineHandler | None = None,
        on_stderr_line: LineHandler | None = None,
    ) -> None:
        self.channel = channel
        self.board = board
        self.what = what
        self.stdout = Lines(on_stdout_line)
        self.stderr = Lines(on_stderr_line)
        self._lost = lost
        self._started_s = time.monotonic()
        self._status_since_s: float | None = None

    def write_line(self, text: str) -> None:
        """Send one line to its standard input."""
        try:
            self.channel.sendall(text.encode() + b"\n")
        except (OSError, EOFError) as error:
            raise self.broken() from error

    def end_input(self) -> None:
        """Close its standard input."""
        with contextlib.suppress(OSError, EOFError):  # it ended before, or the link did
            self.channel.shutdown_write()

    def pump(self, timeout_s: float) -> bool:
        """Wait at most *timeout_s* for output and hand it out. Whether the command still runs."""
        select.select([self.channel], [], [], timeout_s)
        came = False
        for ready, receive, lines in (
            (self.channel.recv_ready, self.channel.recv, self.stdout),
            (self.channel.recv_stderr_ready, self.channel.recv_stderr, self.stderr),
        ):
            while ready():
                lines.feed(receive(CHUNK_BYTES))
                came = True
        if came or not self.channel.exit_status_ready():
            if not came and self.channel.eof_received:
                time.sleep(min(timeout_s, 0.02))  # select no longer waits, the exit code is still to come
            return True
        if self._status_since_s is None:
            self._status_since_s = time.monotonic()
        late = time.monotonic() - self._status_since_s > LAST_WORDS_S
        return not (late or self.channel.eof_received or self.channel.closed)

    def finish(self, deadline_s: float) -> Finished:
        """Wait for the end.

        Raises:
            CommandTimeout: it ran longer than *deadline_s*.
            BoardLost: the link broke.
            LabdError: what the command itself raised on the board.
            CommandFailed: it ended with another exit code than 0; the error carries the same one.
        """
        while self.pump(0.2):
            if time.monotonic() - self._started_s > deadline_s:
                self.close()
                raise CommandTimeout(
                    f"{self.what} on board {self.board} did not end within {deadline_s:g} s and was stopped",
                    fix=f"look at the board: fab selftest --board {self.board}; or give it more time: --deadline",
                    board=self.board,
                    deadline_s=deadline_s,
                )
        self.stdout.feed(b"", final=True)
        self.stderr.feed(b"", final=True)
        exit_code = self.channel.recv_exit_status()
        if exit_code < 0:
            raise self.broken()
        ended = Finished(
            exit_code, self.stdout.text(), self.stderr.text(), time.monotonic() - self._started_s
        )
        if exit_code:
            raise find_error(ended.stderr) or self._failed(ended)
        return ended

    def _failed(self, ended: Finished) -> CommandFailed:
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        error = CommandFailed(
            f"{self.what} on board {self.board} ended with exit code {ended.exit_code}: "
            f"{said[-1].strip() if said else 'it said nothing'}",
            fix=f"see what it printed above; the board's own check: fab selftest --board {self.board}",
            board=self.board,
            exit_code=ended.exit_code,
            stderr_tail=said[-12:],
        )
        error.exit_code = ended.exit_code
        return error

    def broken(self) -> BoardError:
        """The error for an end without an exit code."""
        reason = self._lost()
        if reason:
            return BoardLost(
                f"the link to board {self.board} broke during {self.what}: {reason}",
                fix=f"look whether it is up: fab boards --board {self.board}; then do the same again",
                board=self.board,
            )
        return BoardLost(
            f"{self.what} on board {self.board} was ended from outside, without an exit code",
            fix=f"somebody or the board's memory guard killed it; try again: fab boards --board {self.board}",
            board=self.board,
        )

    def close(self) -> None:
        """Close the channel; what still runs is killed by its guard."""
        self.channel.close()
