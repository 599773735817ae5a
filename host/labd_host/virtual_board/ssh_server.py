"""The SSH server of a virtual board: shells, commands and SFTP on one view of the file system, for user xilinx.

Each command is a bash of its own session. When its channel or its connection ends, every process of
that session is killed: a board is never left with an orphan that keeps the accelerator busy.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import struct
import termios
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from labd_host.machine import processes

CHUNK_BYTES = 1 << 16
LEFTOVER_S = 0.5  # how long what a command left behind may keep its output open
KEEPALIVE_S, KEEPALIVE_COUNT = 15, 3  # a client that vanished is noticed after 45 s
LOGIN_TIMEOUT_S = 20
ROUNDS = 100  # of killing what a command left behind

LOG = logging.getLogger(__name__)


@dataclass
class View:
    """What a login finds, and who is logged in.

    Attributes:
        user: The only user.
        home: Where commands and SFTP start.
        environment: Of every command.
        keys: Public keys that may log in.
        connections: Open ones.
        sessions: Session leaders of the commands that run.
    """

    user: str
    home: Path
    environment: Mapping[str, str]
    keys: list[Any]
    connections: set[Any] = field(default_factory=set)
    sessions: set[int] = field(default_factory=set)


class _Server(asyncssh.SSHServer):  # type: ignore[misc]
    """One connection."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._connection: Any = None

    def connection_made(self, conn: Any) -> None:
        self._connection = conn
        self._view.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._view.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        return username == self._view.user and key in self._view.keys


async def listen(view: View, host: str, port: int, host_key: Path) -> Any:
    """Listen on *port*, or on a free one where it is taken; the acceptor."""

    async def serve(process: Any) -> None:
        await _Command(process, view).run()

    async def on(chosen: int) -> Any:
        return await asyncssh.listen(
            host,
            chosen,
            server_factory=lambda: _Server(view),
            server_host_keys=[str(host_key)],
            process_factory=serve,
            sftp_factory=asyncssh.SFTPServer,
            encoding=None,
            allow_pty=True,
            line_editor=False,
            agent_forwarding=False,
            gss_host=None,
            login_timeout=LOGIN_TIMEOUT_S,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVE_COUNT,
        )

    try:
        return await on(port)
    except OSError as error:
        LOG.info("port %d cannot be had (%s), taking a free one", port, error)
        return await on(0)


class _Command:
    """One command of one client, or its shell; on a terminal of its own where the client asks for one."""

    def __init__(self, process: Any, view: View) -> None:
        self._process, self._view = process, view
        self._terminal: int | None = None  # our end of the terminal

    async def run(self) -> None:
        """Start it, move its data, report how it ended, and leave nothing behind."""
        channel_closed = asyncio.create_task(self._process.channel.wait_closed())
        child = await (
            self._start() if self._process.get_terminal_type() is None else self._start_on_terminal()
        )
        self._view.sessions.add(child.pid)
        outputs = [asyncio.create_task(each) for each in self._outputs(child)]
        feed = asyncio.create_task(self._feed(child))
        ended = asyncio.create_task(_exit_code(child))
        try:
            await asyncio.wait({ended, channel_closed}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                await asyncio.wait(outputs, timeout=LEFTOVER_S)
                self._report(ended.result())
        finally:
            for task in (feed, channel_closed, ended, *outputs):
                task.cancel()
            await end_session(child.pid)
            self._view.sessions.discard(child.pid)
            await asyncio.gather(feed, channel_closed, ended, *outputs, return_exceptions=True)
            if self._terminal is not None:
                os.close(self._terminal)

    async def _start(self) -> Any:
        return await self._bash(
            ["-c", self._process.command] if self._process.command else [], asyncio.subprocess.PIPE
        )

    async def _start_on_terminal(self) -> Any:
        """The same with a terminal as its standard streams, which it controls."""
        self._terminal, theirs = os.openpty()
        os.set_blocking(self._terminal, False)
        _resize(self._terminal, *self._process.get_terminal_size()[:2])
        try:
            return await self._bash(
                ["-c", self._process.command] if self._process.command else ["-i"],
                theirs,
                {"TERM": self._process.get_terminal_type() or "dumb"},
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
        finally:
            os.close(theirs)

    async def _bash(
        self, arguments: list[str], streams: int, variables: Mapping[str, str] | None = None, **options: Any
    ) -> Any:
        return await asyncio.create_subprocess_exec(
            "/bin/bash",
            *arguments,
            stdin=streams,
            stdout=streams,
            stderr=streams,
            cwd=self._view.home,
            env={**self._view.environment, **(variables or {})},
            start_new_session=True,
            umask=0o022,
            **options,
        )

    def _outputs(self, child: Any) -> list[Coroutine[Any, Any, None]]:
        if self._terminal is not None:
            return [_copy_terminal(self._terminal, self._process.stdout)]
        return [_copy(child.stdout, self._process.stdout), _copy(child.stderr, self._process.stderr)]

    def _report(self, code: int) -> None:
        if code >= 0:
            self._process.exit(code)
        else:
            name = signal.Signals(-code).name.removeprefix("SIG")
            self._process.exit_with_signal(name, core_dumped=False, msg="", lang="")

    async def _feed(self, child: Any) -> None:
        """The client's input and signals to the command."""
        while True:
            try:
                data = await self._process.stdin.read(CHUNK_BYTES)
            except asyncssh.SignalReceived as received:
                number = getattr(signal, f"SIG{received.signal}", None)
                if isinstance(number, signal.Signals):
                    processes.send(processes.in_session(child.pid), number)
                continue
            except asyncssh.TerminalSizeChanged as changed:
                if self._terminal is not None:
                    _resize(self._terminal, changed.width, changed.height)
                continue
            except asyncssh.BreakReceived:
                continue
            except asyncssh.Error:
                return  # the channel is gone; `run` sees it as well
            if self._terminal is not None:
                if not data:
                    return
                await _write_terminal(self._terminal, data)
                continue
            try:
                if not data:
                    child.stdin.close()
                    return
                child.stdin.write(data)
                await child.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                return  # the command does not read (any more), as `true` or `head` do


def _resize(terminal: int, columns: int, rows: int) -> None:
    """Tell *terminal* its size in characters."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def _ready(
    add: Callable[[int, Callable[[], None]], Any], remove: Callable[[int], Any], handle: int
) -> None:
    """Wait until *handle* can be read or written, as *add* and *remove* of the loop say."""
    ready = asyncio.Event()
    add(handle, ready.set)
    try:
        await ready.wait()
    finally:
        remove(handle)


async def _copy_terminal(terminal: int, target: Any) -> None:
    """What a command prints on its terminal to the client."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = os.read(terminal, CHUNK_BYTES)
        except BlockingIOError:
            await _ready(loop.add_reader, loop.remove_reader, terminal)
            continue
        except OSError:  # EIO: nobody has the other end any more
            return
        try:
            target.write(data)
            await target.drain()
        except (BrokenPipeError, ConnectionError, asyncssh.Error):
            return


async def _write_terminal(terminal: int, data: bytes) -> None:
    """What the client types to a command's terminal."""
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(terminal, data) :]
        except BlockingIOError:
            await _ready(loop.add_writer, loop.remove_writer, terminal)
        except OSError:  # nobody has the other end any more
            return


async def _exit_code(child: Any) -> int:
    """How the command ended; unlike ``child.wait`` it does not wait for those who inherited its output."""
    try:
        handle = os.pidfd_open(child.pid)
    except ProcessLookupError:
        handle = -1  # it has ended already
    if handle >= 0:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
    while child.returncode is None:  # asyncio collects it a moment later
        await asyncio.sleep(0.001)
    return int(child.returncode)


async def _copy(source: Any, target: Any) -> None:
    """An output of the command to the client."""
    while data := await source.read(CHUNK_BYTES):
        try:
            target.write(data)
            await target.drain()
        except (BrokenPipeError, ConnectionError, asyncssh.Error):
            return  # the client is gone; `run` ends the command
    # Nothing more will come, but the channel stays open for the other stream and the exit code.


async def end_session(leader: int) -> None:
    """Kill every process of a command's session, also those that are being born meanwhile."""
    for _ in range(ROUNDS):
        found = processes.in_session(leader)
        if not found:
            return
        processes.send(found, signal.SIGKILL)
        await asyncio.sleep(0.01)
    LOG.warning("processes of session %d would not die", leader)
