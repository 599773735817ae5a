"""The agent's service: a JSON line on standard output for each JSON line on standard input.

Empty lines are heart-beats. When its input ends or stays silent the host has vanished: it rolls back what
was not confirmed, frees the lock and ends. A power cut in the middle is repaired by the next one that takes
the lock.
"""

import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any, Callable, Dict, Iterator, Optional

from labd_host.remote.board_agent.board_lock import BoardLock
from labd_host.remote.board_agent.board_summary import BoardSummary
from labd_host.remote.board_agent.card import free_bytes
from labd_host.remote.board_agent.dataset_folders import DatasetFolders
from labd_host.remote.board_agent.installed_releases import InstalledReleases
from labd_host.remote.board_agent.python_path import PythonPath
from labd_host.remote.board_agent.refusal import Refused, checked
from labd_host.remote.board_agent.upload_store import UploadStore

SILENCE_S = 10.0  # longer than the host's own limit, so that it never works on without its lock
MAX_REQUEST_BYTES = 4 << 20


class Agent(object):
    """One client's session; the ``do_`` methods of its parts answer a request each."""

    def __init__(self) -> None:
        self.lock = BoardLock()
        releases = InstalledReleases(self.lock)
        self._parts = (self.lock, releases, BoardSummary(), UploadStore(), DatasetFolders(), PythonPath())

    def method(self, do: str) -> Callable[..., Dict[str, Any]]:
        """What answers the request *do*.

        Raises:
            Refused: nothing does.
        """
        for part in self._parts:
            found: Optional[Callable[..., Dict[str, Any]]] = getattr(part, "do_" + do, None)
            if found is not None:
                return found
        raise Refused("UsageError", "the board's agent cannot {}".format(do), "update labd")


def requests(parent: int) -> Iterator[str]:
    """Lines of standard input; ends when the host is gone, silent for too long, or the SSH server ended
    the process it started (*parent*)."""
    waiting = b""
    heard_s = time.monotonic()
    while os.getppid() == parent and time.monotonic() - heard_s < SILENCE_S:
        ready, _, _ = select.select([0], [], [], 0.5)
        if not ready:
            continue
        chunk = os.read(0, 1 << 16)
        heard_s = time.monotonic()
        if not chunk or len(waiting) > MAX_REQUEST_BYTES:
            return
        waiting += chunk
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            if line.strip():
                yield line.decode("utf-8")
        heard_s = time.monotonic()  # answering may have taken long, and heart-beats waited


def answer(agent: Agent, line: str) -> Dict[str, Any]:
    request = json.loads(line)
    do = checked("[a-z_]+", request["do"])
    try:
        return {"answer": agent.method(do)(**request["with"])}
    except Refused as refused:
        return {"labd_error": refused.record}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "{} on the board: {}".format(error.filename or do, error.strerror)
        fix = "make room on the board: df -h" if full else "log in and look at that path"
        facts = {"errno": error.errno, "free_bytes": free_bytes()}
        return {
            "labd_error": {
                "error": "BoardDiskFull" if full else "BoardError",
                "what": what,
                "fix": fix,
                "facts": facts,
            }
        }


def serve(parent: int) -> None:
    """Answer until the host is done or gone."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(1)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    agent = Agent()
    try:
        for line in requests(parent):
            os.write(1, json.dumps(answer(agent, line)).encode("ascii") + b"\n")
    except BrokenPipeError:
        pass  # the host is gone, as at the end of its input
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        agent.lock.leave()


def main() -> None:
    """Serve in a session of its own: where the SSH server kills a lost client's processes at once, this
    one still takes back what was not confirmed."""
    parent = os.getpid()
    child = os.fork()
    if child:
        sys.exit(1 if os.waitpid(child, 0)[1] else 0)
    os.setsid()
    serve(parent)


if __name__ == "__main__":
    main()
