"""Locks of open file descriptions: gone with the last process that has the file open, and asked for without harm.

flock's are gone with the process, too, but whoever asks for one has it for a moment and turns others away.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import IO, Any

# struct flock of 64-bit Linux: type, whence, start, length (0: all of it), process.
_WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def lock(handle: IO[Any]) -> bool:
    """Lock *handle*'s file until it is closed; False where somebody has."""
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True


def is_locked(handle: IO[Any]) -> bool:
    """Whether somebody else has *handle*'s file locked."""
    answer = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)
