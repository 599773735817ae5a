"""Serves the programmable logic to the programs of one virtual board; a process of its own.

    python -m labd_host.virtual_board.logic_server FOLDER [--fault NAME]

It listens on FOLDER/logic.sock, a folder only its owner may enter, and ends when its standard input
does: when the board that started it is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labd_host.machine.parent import wait_for_parent
from labd_host.virtual_board.board_env.labd_virtual_board.link import SOCKET_NAME
from labd_host.virtual_board.contiguous_memory import ContiguousMemory
from labd_host.virtual_board.logic import ProgrammableLogic
from labd_host.virtual_board.logic_faults import FAULTS
from labd_shared.errors import LabdError, UsageError
from labd_shared.wire import load_line

MAX_REQUEST_BYTES = 64 << 10
MAX_PEEK_WORDS = 1 << 16  # as JSON just below the longest reply a program takes
GREETING = b'{"hello": "labd virtual board", "version": 1}\n'


class _Session(socketserver.StreamRequestHandler):
    """One connected program. What it allocated is freed when it hangs up."""

    server: LogicServer
    _replied_s = 0.0

    def handle(self) -> None:
        logic = self.server.logic
        socket.send_fds(self.connection, [GREETING], [logic.memory.descriptor])
        try:
            while line := self.rfile.readline(MAX_REQUEST_BYTES):
                self.connection.sendall(self._answer(line))
        except ConnectionError:
            pass  # it hung up while we answered: the same end
        finally:
            logic.free_all(self)

    def _answer(self, line: bytes) -> bytes:
        number = None
        arrived_s = time.monotonic()
        try:
            request = load_line(line.decode("utf-8"))
            if request is None or not line.endswith(b"\n"):
                raise UsageError("a request is one JSON object on one line")
            number = request.get("id")
            with self.server.logic.no_time_passes(self._lost_s(request, arrived_s)):
                reply = {"id": number, "value": self._do(request)}
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, LabdError) as error:
            refused = error if isinstance(error, LabdError) else UsageError(f"not a request: {error!r}")
            reply = {"id": number, "labd_error": refused.to_wire()}
        self._replied_s = time.monotonic()
        return json.dumps(reply, default=str).encode() + b"\n"

    def _lost_s(self, request: dict[str, Any], arrived_s: float) -> float:
        """What passed since our last reply, less what the program had of it for itself.

        The program stamps its requests with the machine's one monotonic clock: when it sent this one,
        and when the reply before had reached it. The rest was the wire's, and the emulator's threads'.
        """
        since_s = arrived_s - self._replied_s if self._replied_s else 0.0
        own_s = float(request.get("sent_s", arrived_s)) - float(request.get("received_s", self._replied_s))
        return max(0.0, since_s - max(0.0, own_s))

    def _do(self, request: dict[str, Any]) -> Any:
        logic = self.server.logic
        match request.get("do"):
            case "read":
                return logic.read(int(request["address"]))
            case "write":
                return logic.write(int(request["address"]), int(request["value"]))
            case "now":
                return logic.now_s()
            case "peek":
                words = int(request["words"])
                if not 0 < words <= MAX_PEEK_WORDS:
                    raise UsageError(f"{words} registers at once, 1 to {MAX_PEEK_WORDS} can be read")
                return logic.peek(int(request["address"]), words)
            case "allocate":
                return logic.allocate(int(request["bytes"]), self)
            case "free":
                return logic.free(int(request["address"]), self)
            case "configure":
                return logic.configure(Path(str(request["bitfile"])))
            case "facts":
                return logic.facts()
            case "faults":
                return logic.set_faults([str(name) for name in request["names"]])
        raise UsageError(f"no request named {request.get('do')!r}")


class LogicServer(socketserver.ThreadingUnixStreamServer):
    """Listens in *folder* until it is shut down.

    Args:
        folder: Made if it is missing, and closed to everybody else.
        logic: What it serves.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, logic: ProgrammableLogic) -> None:
        self.logic = logic
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / SOCKET_NAME).unlink(missing_ok=True)
        inside = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:  # through a descriptor: a socket's own path may have 107 bytes only
            super().__init__(f"/proc/self/fd/{inside}/{SOCKET_NAME}", _Session)
        finally:
            os.close(inside)


@contextlib.contextmanager
def serving(folder: Path, logic: ProgrammableLogic) -> Iterator[LogicServer]:
    """A server in threads of this process, for as long as the context lasts."""
    server = LogicServer(folder, logic)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5.0)
        logic.close()


def main(arguments: Sequence[str] | None = None, wait: Callable[[], None] = wait_for_parent) -> None:
    """Serve one board's logic until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m labd_host.virtual_board.logic_server")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fault", action="append", default=[], choices=sorted(FAULTS))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logic = ProgrammableLogic(ContiguousMemory())
    logic.set_faults(options.fault)
    with serving(options.folder, logic):
        wait()


if __name__ == "__main__":
    main()
