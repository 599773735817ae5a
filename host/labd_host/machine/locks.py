"""Files that one process at a time holds: taken, waited for with a deadline, and asked about without harm.

The locks are those of open file descriptions. The kernel frees one when the last process that has the file
open ends, however it ends, so no stale process number is ever believed; a process that was started with the
descriptor keeps the lock alive. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from labd_shared.errors import SetupError

POLL_S = 0.02
MAX_TEXT_BYTES = 1 << 16
# struct flock of 64-bit Linux: type, whence, start, length (0: all of it), process.
_WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class FileLock:
    """A locked file; `take` and `hold` make one. Free again when it is released or its process ends."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def fileno(self) -> int:
        """The descriptor: a child process that is started with it holds the lock as well."""
        return self._file.fileno()

    def write(self, text: str) -> None:
        """Replace what the file says; a reader may see it empty in between."""
        os.ftruncate(self.fileno(), 0)
        os.pwrite(self.fileno(), text.encode(), 0)

    def release(self) -> None:
        """Give the lock up; it stays with child processes that were started with it."""
        self._file.close()


def take(path: Path, timeout_s: float = 0.0, *, sign: bool = True) -> FileLock | None:
    """Lock the file *path*, made where it is missing, its folder as well.

    Args:
        path: Of the file.
        timeout_s: How long to wait while another holds it.
        sign: Write the number of this process into the file, for `holder`. Without, it keeps what it says.

    Returns:
        The lock, or None if another process, or another thread of this one, kept it.

    Raises:
        OSError: the file cannot be opened for writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + timeout_s
    # Not "w", which empties a file that another holds; not "a", which writes behind what it says.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    lock = FileLock(os.fdopen(handle, "r+b", buffering=0))
    try:
        while not _try(lock.fileno()):
            if time.monotonic() >= deadline_s:
                lock.release()
                return None
            time.sleep(POLL_S)
        if sign:
            lock.write(str(os.getpid()))
    except BaseException:
        lock.release()
        raise
    return lock


@contextlib.contextmanager
def hold(path: Path, timeout_s: float, doing: str) -> Iterator[FileLock]:
    """Hold the lock *path* while the block runs.

    Args:
        path: Of the file.
        timeout_s: How long to wait while another holds it.
        doing: What its holder does, for the error: "making the environment 'host'".

    Raises:
        SetupError: another process held it all the time.
    """
    lock = take(path, timeout_s)
    if lock is None:
        process = holder(path)
        raise SetupError(
            f"another process has been {doing} for more than {timeout_s:g} s",
            fix=f"wait for process {process}, or end it"
            if process
            else f"fuser {path} names the process that holds it",
        )
    with lock:
        yield lock


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock *path*."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    finally:
        os.close(handle)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def holder(path: Path) -> int | None:
    """The process that holds the lock *path*; None if it is free, not signed yet, or held on another machine."""
    if not is_locked(path):
        return None
    try:
        with path.open("rb") as file:
            process = int(file.read(MAX_TEXT_BYTES))
    except (OSError, ValueError):
        return None
    # The number may be one of an earlier holder: only a process that has the file open is believed.
    return process if _has_open(process, path) else None


def _has_open(process: int, path: Path) -> bool:
    wanted = path.resolve()
    with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed while we looked
                if entry.readlink() == wanted:
                    return True
    return False


def _try(handle: int) -> bool:
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True
