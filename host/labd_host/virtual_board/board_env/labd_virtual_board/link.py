"""The wire between a program on a virtual board and the board's programmable logic.

One JSON line a request and a reply, over a unix socket in the folder that ``LABD_VIRTUAL_BOARD``
names. The reply is ``{"id", "value"}`` or ``{"id", "labd_error"}``. When the connection ends, the
logic frees the memory that was allocated through it. Standard library only.
"""

import json
import os
import socket
import threading
import time
from typing import Any

VARIABLE = "LABD_VIRTUAL_BOARD"
SOCKET_NAME = "logic.sock"
PATIENCE_S = 120.0  # the slowest request, loading a bitfile with a large network, takes seconds
MAX_REPLY_BYTES = 1 << 20


class VirtualBoardError(RuntimeError):
    """What the virtual board refuses, as pynq's callers see it.

    Attributes:
        labd_error: The LabdError behind it: {"error", "what", "fix", "facts"}.
    """

    def __init__(self, record: dict[str, Any], prefix: str = "") -> None:
        super().__init__("{}{}\n  fix: {}".format(prefix, record.get("what", ""), record.get("fix", "")))
        self.labd_error = record


def dead(why: str) -> VirtualBoardError:
    """The error for a logic that does not answer."""
    return VirtualBoardError(
        {
            "error": "BoardLost",
            "what": "the programmable logic of this virtual board does not answer: " + why,
            "fix": "on the host: labd board down NN && labd board up NN",
            "facts": {},
        }
    )


class Link:
    """A connection to the logic, for any number of threads; a forked child gets one of its own.

    Args:
        folder: Where the socket is.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process = 0
        self._received = b""
        self._last = 0
        self._memory = -1
        self._received_s = 0.0

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send a request and wait for its answer.

        Raises:
            VirtualBoardError: the logic refuses it, or does not answer in time.
        """
        with self._lock:
            try:
                self._connect()
                self._last += 1
                # The stamps tell the logic which time was this program's own (see `logic_server`).
                stamps = {"sent_s": time.monotonic(), "received_s": self._received_s}
                self._get_socket().sendall(
                    (json.dumps(dict(arguments, do=do, id=self._last, **stamps)) + "\n").encode()
                )
                reply = self._receive()
                while reply.get("id") != self._last:  # of a request that Ctrl-C interrupted
                    reply = self._receive()
                self._received_s = time.monotonic()
            except (OSError, ValueError) as error:
                self._hang_up()
                raise dead(str(error) or type(error).__name__) from error
        if "labd_error" in reply:
            raise VirtualBoardError(reply["labd_error"])
        return reply.get("value")

    def memory_descriptor(self) -> int:
        """A descriptor of the board's contiguous memory, to be mapped."""
        with self._lock:
            try:
                self._connect()
            except (OSError, ValueError) as error:
                self._hang_up()
                raise dead(str(error) or type(error).__name__) from error
            return self._memory

    def close(self) -> None:
        """Hang up; the logic takes back what was allocated."""
        with self._lock:
            self._hang_up()

    def _get_socket(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("not connected")
        return self._socket

    def _connect(self) -> None:
        """Connect once per process: after a fork the parent's connection is not ours to use."""
        if self._socket is not None and self._process == os.getpid():
            return
        self._hang_up()
        self._process = os.getpid()
        self._socket = connect(self._folder)
        greeting, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 1)
        if not descriptors or not greeting.endswith(b"\n"):
            raise ConnectionError("it hung up")
        self._memory = descriptors[0]

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        self._received = b""

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            piece = self._get_socket().recv(65536)
            if not piece:
                raise ConnectionError("it hung up")
            self._received += piece
            if len(self._received) > MAX_REPLY_BYTES:
                raise ConnectionError("its reply does not end")
        line, self._received = self._received.split(b"\n", 1)
        reply = json.loads(line.decode())
        if not isinstance(reply, dict):
            raise ConnectionError("its reply is no object")
        return reply


def connect(folder: str) -> socket.socket:
    """A socket connected to the logic in *folder*.

    The path goes through a descriptor of the folder: a socket's own path may have 107 bytes only.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE_S)
        inside = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{inside}/{SOCKET_NAME}")
        finally:
            os.close(inside)
    except OSError:
        connection.close()
        raise
    return connection
