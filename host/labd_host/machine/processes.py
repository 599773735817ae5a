"""Finds and ends processes of a session, or with a variable in their environment, from Linux's /proc."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

GRACE_S = 1.0  # between asking and killing


def in_session(session: int) -> list[int]:
    """Every process of the session that the process *session* leads, whatever group it moved to."""
    found = []
    for entry in _all():
        try:
            # "pid (name) state ppid pgrp session ...": the name may hold blanks and parentheses
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def with_variables(variables: Mapping[str, str]) -> list[int]:
    """Every process of ours that was started with all these environment variables."""
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found = []
    for entry in _all():
        try:
            if wanted <= set((entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended, or belongs to somebody else
    return found


def _all() -> list[Path]:
    return [
        entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()
    ]


def send(processes: list[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def is_alive(process: int) -> bool:
    """Whether the process exists and has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end(processes: list[int]) -> None:
    """Ask processes to end, then kill those that did not; at most `GRACE_S` and a little more."""
    send(processes, signal.SIGTERM)
    deadline_s = time.monotonic() + GRACE_S
    while any(map(is_alive, processes)) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    send([process for process in processes if is_alive(process)], signal.SIGKILL)
