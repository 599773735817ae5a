"""The process behind a virtual board: its SSH server, and its programmable logic as a child.

    python -P -m labd_host.virtual_board.daemon BOARD --idle-s N [--fault NAME]

`labd_host.virtual_board.virtual_board.up` starts it: the command forks, and returns when the board answers
or has failed. The board ends on SIGTERM, when its logic dies, or when nobody was logged in for
--idle-s seconds; then nothing that ran on it is left.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labd_host.machine import hostkeys, locks, processes
from labd_host.machine.child import Child, ChildEnd
from labd_host.virtual_board import board_root, board_state, login_keys, ssh_server
from labd_host.virtual_board.board_env.labd_virtual_board.link import VARIABLE, Link, VirtualBoardError
from labd_shared.errors import BoardError, LabdError

LOGIC_LOG = "logic.log"
START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 2.0  # a daemon that is ending frees the lock last
IDLE_CHECKS = 20  # in one idle period
ALREADY_UP = 3  # exit code: another process holds the board

LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start one board in the background; 0 when it answers, else the exit code it ended with."""
    parser = argparse.ArgumentParser(prog="python -m labd_host.virtual_board.daemon")
    parser.add_argument("board", type=board_state.checked)
    parser.add_argument("--idle-s", type=float, required=True)
    parser.add_argument("--fault", action="append", default=[])
    options = parser.parse_args(arguments)
    reader, writer = os.pipe()
    board = os.fork()
    if board:
        os.close(writer)
        if os.read(reader, 1):
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(board, 0)[1])
    os.close(reader)
    return _run(options.board, options.idle_s, options.fault, writer)


def _run(board: str, idle_s: float, faults: Sequence[str], ready: int) -> int:
    """Be the board; a byte into the pipe *ready* says that it answers."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    where = board_state.folder(board)
    lock = locks.take(where / board_state.LOCK_NAME, LOCK_TIMEOUT_S)
    if lock is None:
        return ALREADY_UP
    with lock:
        os.umask(0o022)
        os.chdir(board_root.home(where / "root"))  # where SFTP begins, as a login does
        sweep(board)  # what a killed daemon left
        try:
            with _logic(where, faults) as logic:
                asyncio.run(_Board(board, idle_s, logic).run(ready))
        except LabdError as error:
            LOG.error("%s", error.what)  # a bug shows its traceback, this is none
            return error.exit_code
        finally:
            board_state.forget(board)
            sweep(board)
    return 0


def sweep(board: str) -> None:
    """End every process that runs on the board: those with its home and its logic in their environment."""
    environment = board_root.environment(board_state.folder(board) / "root", board_state.logic_folder(board))
    processes.end(processes.with_variables({name: environment[name] for name in ("HOME", VARIABLE)}))


def _logic(where: Path, faults: Sequence[str]) -> Child:
    """The programmable logic, a process that ends with this one."""
    command = [sys.executable, "-P", "-m", "labd_host.virtual_board.logic_server", str(where / "logic")]
    for fault in faults:
        command += ["--fault", fault]
    threads = {"OMP_NUM_THREADS": board_root.THREADS, "OPENBLAS_NUM_THREADS": board_root.THREADS}
    return Child(
        command,
        environment={**os.environ, **threads},
        log=where / LOGIC_LOG,
        lifeline=True,
        end=ChildEnd(grace_s=END_TIMEOUT_S),
    )


class _Board:
    """The running board."""

    def __init__(self, board: str, idle_s: float, logic: Child) -> None:
        self._board, self._idle_s, self._logic = board, idle_s, logic
        self._root = board_state.folder(board) / "root"
        self._view = ssh_server.View(
            board_root.USER,
            board_root.home(self._root),
            board_root.environment(self._root, board_state.logic_folder(board)),
            login_keys.allowed_keys(),
        )

    async def run(self, ready: int) -> None:
        """Listen, prove that it works, say so, and serve until something ends it."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        host_key = login_keys.host_key(self._board)
        acceptor = await ssh_server.listen(
            self._view, board_state.HOST, board_state.rule_port(self._board), host_key
        )
        try:
            port = int(acceptor.get_port())
            hostkeys.pin(board_state.HOST, port, login_keys.public_half(host_key))
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    await self._prove_logic()
                    await self._prove_login(port)
            except TimeoutError as error:
                raise BoardError(
                    f"board {self._board} did not answer within {START_TIMEOUT_S:g} s",
                    fix=f"read {board_state.folder(self._board) / LOGIC_LOG}",
                ) from error
            board_state.save(self._state(port))
            os.write(ready, b"1")
            os.close(ready)
            LOG.info("board %s answers at %s:%d", self._board, board_state.HOST, port)
            await self._until_end(stop)
        finally:
            acceptor.close()
            for connection in list(self._view.connections):
                connection.abort()
            for leader in list(self._view.sessions):
                await ssh_server.end_session(leader)

    def _state(self, port: int) -> board_state.VirtualBoardState:
        return board_state.VirtualBoardState(
            board=self._board,
            host=board_state.HOST,
            port=port,
            pid=os.getpid(),
            user=board_root.USER,
            root=self._root,
            client_key=login_keys.client_key(),
            started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    async def _prove_logic(self) -> None:
        """Wait until the programmable logic answers."""
        link = Link(str(board_state.logic_folder(self._board)))
        while True:
            self._check_logic()
            try:
                await asyncio.to_thread(link.ask, "now")
                link.close()
                return
            except VirtualBoardError:
                await asyncio.sleep(0.02)  # it is still starting; `run` sets the deadline

    def _check_logic(self) -> None:
        if self._logic.code is not None:
            raise BoardError(
                f"the programmable logic of board {self._board} ended (exit {self._logic.code})",
                fix=f"read {board_state.folder(self._board) / LOGIC_LOG}",
            )

    async def _prove_login(self, port: int) -> None:
        """Log in as a user would and run a command."""
        import asyncssh

        connection: Any = await asyncssh.connect(
            board_state.HOST,
            port,
            username=self._view.user,
            client_keys=[str(login_keys.client_key())],
            known_hosts=str(hostkeys.path()),
            config=None,
            agent_path=None,
        )
        async with connection:
            answer = await connection.run("echo ready", timeout=START_TIMEOUT_S)
        if str(answer.stdout).strip() != "ready":
            raise BoardError(
                f"a login to board {self._board} gave {answer.stdout!r} instead of 'ready'",
                fix=f"read {board_state.folder(self._board)}",
            )

    async def _until_end(self, stop: asyncio.Event) -> None:
        """Return when told to, when idle for long; raise when the logic dies."""
        idle_since_s = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(min(self._idle_s / IDLE_CHECKS, 1.0)):
                    await stop.wait()
                LOG.info("asked to end")
                return
            except TimeoutError:
                self._check_logic()
            if self._view.connections:
                idle_since_s = time.monotonic()
            elif time.monotonic() - idle_since_s > self._idle_s:
                LOG.info("nobody was logged in for %g s", self._idle_s)
                return


if __name__ == "__main__":
    sys.exit(main())
