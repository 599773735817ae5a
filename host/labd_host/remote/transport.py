"""A connection to a board. The only place that imports fabric and paramiko.

What they leave open is closed here: host keys are checked against our pinned ones alone, a dead link
is noticed within seconds, every step has a deadline, and every fault is one of labd's errors.
"""

import contextlib
import logging
import shlex
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labd_host.machine import hostkeys
from labd_host.remote.inventory import BoardEntry
from labd_host.remote.passwords import Password, sudo_password
from labd_host.remote.remote_process import SUDO, Finished, LineHandler, Process, guarded
from labd_host.remote.transfer import receive, send
from labd_shared.errors import (
    BoardDiskFull,
    BoardError,
    BoardLost,
    BoardUnreachable,
    CommandFailed,
    LabdError,
    LoginRefused,
    PermissionMissing,
)
from labd_shared.wire import ERRORS_VARIABLE

# paramiko logs each failed handshake with its traceback; our errors say it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Deadlines:
    """How long each step may take, in seconds.

    Attributes:
        connect_s, banner_s, auth_s, channel_s: Of the steps of opening.
        silence_s: A link that answers no keep-alive for so long is dead.
        transfer_s: One read or write of a file transfer.
    """

    connect_s: float = 8.0
    banner_s: float = 8.0
    auth_s: float = 10.0
    channel_s: float = 8.0
    silence_s: float = 6.0
    transfer_s: float = 8.0


_open: "weakref.WeakSet[Connection]" = weakref.WeakSet()


def abandon_all() -> None:
    """Break every open connection of this process, so that the threads that use them end now."""
    for connection in list(_open):
        connection.abandon("interrupted")


class Connection:
    """A checked connection to one board, open from `open` to `close`; a context manager that does both.

    Args:
        board: As `labd_host.remote.inventory.endpoint` gives it.
        deadlines: Of its steps.
    """

    _fabric: Any  # this and the next from `open` on
    _transport: Any

    def __init__(self, board: BoardEntry, deadlines: Deadlines | None = None) -> None:
        self.board = board
        self.deadlines = deadlines or Deadlines()
        self._lost = ""
        self._closed = threading.Event()
        self._beating: set[Any] = set()
        self._answered_s = 0.0

    def open(self) -> Self:
        """Dial, check the host key and log in; once.

        Raises:
            BoardUnreachable: nothing answers, or no SSH server.
            HostKeyUnknown, HostKeyChanged: the host key is not the pinned one.
            LoginRefused: user or key are not accepted.
            PermissionMissing: a password is needed, and there is nobody and no file to ask.
        """
        import fabric

        board = self.board
        config = fabric.Config(overrides={"load_ssh_configs": False, "run": {"in_stream": False}})
        self._fabric = fabric.Connection(
            host=board.host,
            port=board.port,
            user=board.user,
            config=config,
            connect_timeout=self.deadlines.connect_s,
            connect_kwargs=self._login(),
        )
        with _opening(board):
            self._trust_pinned_keys_only()
            self._fabric.open()
        self._transport = self._fabric.transport
        # Requests are small and wait for answers: without this each costs a delayed acknowledgement, 40 ms.
        self._transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answered_s = time.monotonic()
        _open.add(self)
        for work in (self._beat, self._watch):
            threading.Thread(target=work, name=f"labd-board-{board.number}", daemon=True).start()
        return self

    def _login(self) -> dict[str, Any]:
        board, deadlines = self.board, self.deadlines
        login = {
            "allow_agent": board.agent,
            "look_for_keys": board.look_for_keys,
            "key_filename": [str(key) for key in board.keys],
            "banner_timeout": deadlines.banner_s,
            "auth_timeout": deadlines.auth_s,
            "channel_timeout": deadlines.channel_s,
        }
        if board.password_login:
            login["password"] = sudo_password(board).reveal()
        return login

    def _trust_pinned_keys_only(self) -> None:
        """Fabric adds every key it meets and reads no file; put our file and our refusal in its place."""
        from paramiko.hostkeys import HostKeyEntry

        board, client = self.board, self._fabric.client
        name = hostkeys.host_name(board.host, board.port)
        for key in hostkeys.lookup(board.host, board.port):
            entry = HostKeyEntry.from_line(f"{name} {key}")
            if entry is not None:  # None: a kind of key this paramiko does not know
                client.get_host_keys().add(name, key.split()[0], entry.key)
        client.set_missing_host_key_policy(_Refusal(board))

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; on the board every command of ours ends. Twice is harmless."""
        self._closed.set()
        _open.discard(self)
        self._fabric.close()

    def abandon(self, reason: str) -> None:
        """Break the link at once; whatever waits on it fails with *reason*."""
        self._lost = self._lost or reason
        self._transport.close()

    def lost(self) -> str:
        """Why the link is gone, "" while it is alive."""
        if not self._lost and not self._transport.is_active():
            self._lost = "the connection was cut"
        return self._lost

    def start(
        self,
        command: str,
        what: str,
        *,
        first_line: Password | None = None,
        on_stdout_line: LineHandler | None = None,
        on_stderr_line: LineHandler | None = None,
    ) -> Process:
        """Start *command*, already quoted, and send heart-beats to its standard input from then on.

        Args:
            command: For the board's shell.
            what: For messages.
            first_line: Sent before everything else, for sudo.
            on_stdout_line, on_stderr_line: Told each line as it comes.

        Raises:
            BoardLost: the link broke.
        """
        with self._on_the_link(what):
            channel = self._transport.open_session(timeout=self.deadlines.channel_s)
            channel.settimeout(self.deadlines.channel_s)
            channel.exec_command(command)
            if first_line is not None:
                channel.sendall(first_line.reveal().encode() + b"\n")
        self._beating.add(channel)
        return Process(channel, self.board.number, what, self.lost, on_stdout_line, on_stderr_line)

    def stop(self, process: Process) -> None:
        """Send no more heart-beats and close the channel: what still runs is killed on the board."""
        self._beating.discard(process.channel)
        process.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        deadline_s: float,
        what: str = "",
        env: Mapping[str, str] | None = None,
        root: bool = False,
        on_stdout_line: LineHandler | None = None,
        on_stderr_line: LineHandler | None = None,
    ) -> Finished:
        """Run a command to its end; nothing of it is left on the board, however this call ends.

        Args:
            argv: Program and arguments.
            deadline_s: Longest time it may take.
            what: For messages; the program's name when "".
            env: Variables for it. Errors of labd's own commands come back as what they were.
            root: Through sudo where the inventory says so.
            on_stdout_line, on_stderr_line: Told each line as it comes.

        Raises:
            CommandTimeout, BoardLost, CommandFailed: see `Process.finish`.
            PermissionMissing: sudo refused.
            LabdError: what the command raised on the board.
        """
        through_sudo = root and self.board.sudo
        process = self.start(
            guarded(argv, {ERRORS_VARIABLE: "wire", **(env or {})}, root=through_sudo),
            what or argv[0],
            first_line=self._password() if through_sudo else None,
            on_stdout_line=on_stdout_line,
            on_stderr_line=on_stderr_line,
        )
        try:
            return process.finish(deadline_s)
        except CommandFailed as error:
            if through_sudo:
                _raise_if_sudo_refused(self.board, error)
            raise
        finally:
            self.stop(process)

    def _password(self) -> Password | None:
        """The password sudo will ask for, None where it asks for none."""
        try:
            self.run(["sudo", "-n", "true"], deadline_s=10)
        except CommandFailed:
            return sudo_password(self.board)
        return None

    def start_unguarded(self, argv: Sequence[str], what: str, *, root: bool = False) -> Process:
        """Start a command that reads its own standard input and ends with it; *root* as for `run`."""
        if root and self.board.sudo:
            return self.start(shlex.join([*SUDO, *argv]), what, first_line=self._password())
        return self.start(shlex.join(argv), what)

    def upload(
        self,
        local: Path | bytes,
        remote: str,
        *,
        offset: int = 0,
        on_bytes: Callable[[int], None] | None = None,
    ) -> int:
        """Send a file, or its rest from *offset* on, to the path *remote*; returns the bytes sent.

        The caller gives a temporary name, has the board verify what came, and renames it there.

        Raises:
            BoardLost: the link broke or stalled.
            BoardDiskFull: no room is left there.
            BoardError: the board refuses to write.
        """
        with self._transfer("write", remote) as client:
            return send(client, local, remote, offset=offset, on_bytes=on_bytes)

    def download(self, remote: str, *, max_bytes: int) -> bytes:
        """The content of the file *remote*, which nothing but its size was checked of.

        Raises:
            BoardLost: the link broke or stalled.
            BoardError: the board has no such file, or refuses to read it.
            ArtifactError: it has more than *max_bytes*.
        """
        with self._transfer("read", remote) as client:
            return receive(client, remote, max_bytes=max_bytes)

    @contextlib.contextmanager
    def _transfer(self, do: str, remote: str) -> Iterator[Any]:
        """An SFTP client with a deadline. SFTP says no more than "Failure" of most faults of the board; those of
        the link are told apart."""
        with self._on_the_link(f"the transfer of {Path(remote).name[:12]}"):
            client = self._fabric.sftp()
            client.get_channel().settimeout(self.deadlines.transfer_s)
            try:
                yield client
            except (TimeoutError, EOFError, ConnectionError, LabdError):
                raise
            except OSError as error:
                if self.lost() or "closed" in str(error).lower():
                    raise
                raise self._refused(do, remote, error) from error

    def _refused(self, do: str, remote: str, error: OSError) -> BoardError:
        text = str(error) or type(error).__name__
        full = "no space" in text.lower() or "quota" in text.lower()
        return (BoardDiskFull if full else BoardError)(
            f"board {self.board.number} could not {do} {remote}: {text}",
            fix=f"log in and look: ssh -p {self.board.port} {self.board.user}@{self.board.host} df -h",
            board=self.board.number,
        )

    @contextlib.contextmanager
    def _on_the_link(self, what: str) -> Iterator[None]:
        import paramiko

        try:
            yield
        except LabdError:
            raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            reason = self.lost() or str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = "it stalled"
            raise BoardLost(
                f"the link to board {self.board.number} broke during {what}: {reason}",
                fix=f"look whether it is up: fab boards --board {self.board.number}; then do the same again",
                board=self.board.number,
            ) from error

    def _beat(self) -> None:
        """Heart-beats for the board's guards, and a question that only a living link answers."""
        pause_s = min(1.0, self.deadlines.silence_s / 4)
        while not self._closed.wait(pause_s) and self._transport.is_active():
            for channel in list(self._beating):
                with contextlib.suppress(OSError, EOFError):  # it ended just now; its reader notices
                    channel.sendall(b"\n")
            with contextlib.suppress(OSError, EOFError):  # the link broke; whoever uses it notices
                self._transport.global_request("keepalive@openssh.com", wait=True)
            self._answered_s = time.monotonic()

    def _watch(self) -> None:
        """paramiko's own keep-alive never notices a dead link; `_beat` hangs on one, so this is apart."""
        while not self._closed.wait(0.25) and self._transport.is_active():
            if time.monotonic() - self._answered_s > self.deadlines.silence_s:
                self.abandon(f"no answer for {self.deadlines.silence_s:g} s")


def host_key(board: BoardEntry, deadlines: Deadlines | None = None) -> str:
    """The host key that *board* presents now, "type base64"; nobody is logged in.

    Raises:
        BoardUnreachable: nothing answers, or no SSH server.
    """
    import paramiko

    limits = deadlines or Deadlines()
    with (
        _opening(board),
        socket.create_connection((board.host, board.port), limits.connect_s) as connection,
        contextlib.closing(paramiko.Transport(connection)) as transport,
    ):
        transport.banner_timeout = limits.banner_s
        transport.start_client(timeout=limits.banner_s)
        return _line(transport.get_remote_server_key())


def _line(key: Any) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def _refusal(board: BoardEntry, key: str) -> LabdError:
    where = (board.number, board.host, board.port, key)
    return hostkeys.changed(*where) if hostkeys.lookup(board.host, board.port) else hostkeys.unknown(*where)


class _Refusal:
    """paramiko's policy for a host key that our file does not hold: always no."""

    def __init__(self, board: BoardEntry) -> None:
        self._board = board

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        raise _refusal(self._board, _line(key))


def _raise_if_sudo_refused(board: BoardEntry, error: CommandFailed) -> None:
    said = [str(line) for line in error.facts["stderr_tail"]]
    if any(line.startswith(("sudo:", "Sorry, try again")) for line in said):
        raise PermissionMissing(
            f"sudo on board {board.number} refused: {said[-1].strip()}",
            fix="give the right password: at the terminal, or in a 0600 file named by LABD_SUDO_PASSWORD_FILE",
            board=board.number,
        ) from error


@contextlib.contextmanager
def _opening(board: BoardEntry) -> Iterator[None]:
    """Sort what can go wrong on the way to an open connection."""
    import paramiko

    where = f"board {board.number} at {board.host}:{board.port}"
    up = (
        f"start it again: labd board up {board.number}"
        if board.kind == "virtual"
        else "check its power and its cable, and host and port in the inventory: fab boards"
    )
    try:
        yield
    except LabdError:
        raise
    except paramiko.BadHostKeyException as error:
        raise _refusal(board, _line(error.key)) from error
    except paramiko.AuthenticationException as error:
        keys = ", ".join(str(key) for key in board.keys) or "the keys of ~/.ssh"
        raise LoginRefused(
            f"{where} does not let {board.user} in with {keys if board.keys or board.look_for_keys else 'no key'}",
            fix=f"put your public key there: ssh-copy-id -p {board.port} {board.user}@{board.host}"
            if board.kind == "real"
            else f"start it anew: labd board down {board.number}; labd board up {board.number}",
            board=board.number,
        ) from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise BoardUnreachable(
            f"{where} does not answer: {reason or type(error).__name__}", fix=up, board=board.number
        ) from error
