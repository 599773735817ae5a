"""What a child process has of its parent: a line to it, and its end (`labd_host.machine.child`).

Standard library only.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from labd_shared.errors import LabdError
from labd_shared.wire import dump_error, dump_line

STDIN, STDOUT, STDERR = 0, 1, 2


class MessageWriter:
    """Writes messages to the parent, a JSON object a line; threads may share it.

    Args:
        descriptor: Where to; `take_stdout` has the usual one.

    Attributes:
        is_read: Whether the parent still reads; False once a message was lost.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.is_read = True

    def send(self, message: Mapping[str, Any]) -> None:
        """Write *message*."""
        self._write(dump_line(dict(message)))

    def send_error(self, error: LabdError) -> None:
        """Write *error*, which the parent raises again; the last message."""
        self._write(dump_error(error))

    def _write(self, line: str) -> None:
        left = line.encode("ascii") + b"\n"
        with self._lock:
            try:
                while left:  # a signal may cut a long one into pieces
                    left = left[os.write(self._descriptor, left) :]
            except BrokenPipeError:
                self.is_read = False


def take_stdout() -> int:
    """Keep standard output for messages alone: its descriptor, moved; what else is printed goes to standard error."""
    descriptor = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return descriptor


def wait_for_parent() -> None:
    """Return when the parent has closed this process's standard input, or has ended."""
    while os.read(STDIN, 4096):
        pass


def end_with_parent() -> None:
    """Kill this process and its group when the parent closes its standard input, or ends.

    The process must lead its group, as one does that `Child` started.
    """

    def watch() -> None:
        wait_for_parent()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
