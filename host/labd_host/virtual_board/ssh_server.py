"""The SSH server of a virtual board: exec and SFTP on one view of the file system, for user xilinx.

Each command is a bash of its own session. When its channel or its connection ends, every process of
that session is killed: a board is never left with an orphan that keeps the accelerator busy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
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
            allow_pty=False,
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
    """One command of one client."""

    def __init__(self, process: Any, view: View) -> None:
        self._process, self._view = process, view

    async def run(self) -> None:
        """Start it, move its data, report how it ended, and leave nothing behind."""
        channel_closed = asyncio.create_task(self._process.channel.wait_closed())
        child = await asyncio.create_subprocess_exec(
            "/bin/bash",
            *(["-c", self._process.command] if self._process.command else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._view.home,
            env=dict(self._view.environment),
            start_new_session=True,
            umask=0o022,
        )
        self._view.sessions.add(child.pid)
        outputs = [
            asyncio.create_task(_copy(child.stdout, self._process.stdout)),
            asyncio.create_task(_copy(child.stderr, self._process.stderr)),
        ]
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
            except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
                continue
            except asyncssh.Error:
                return  # the channel is gone; `run` sees it, too
            try:
                if not data:
                    child.stdin.close()
                    return
                child.stdin.write(data)
                await child.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                return  # the command does not read (any more), as `true` or `head` do


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
