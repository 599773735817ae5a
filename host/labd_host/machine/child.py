"""Child processes: started without a shell, followed line by line, ended with all that they started.

A child leads a session of its own, so that Ctrl-C reaches its parent alone, which ends it in order: the child
is asked, waited for, and then killed with what is left of its processes. Those are found by a variable in
their environment, whatever session they moved to. A child that has something to say writes a JSON object a
line to its standard output; `labd_host.machine.parent` is its side of this. Standard library only.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from labd_host.machine import processes
from labd_shared.errors import LabdError, from_wire
from labd_shared.wire import MAX_LINE_BYTES, load_line

MARK = "LABD_CHILD_"  # and a digest: a variable a child, so that a child's child carries both
POLL_S = 1.0
REAP_TIMEOUT_S = 30.0  # for the kernel to end what was killed
MAX_TAIL_BYTES = 1 << 14
_CHUNK_BYTES = 1 << 16


class ChildFault(Exception):
    """Why a child is given up. Whoever started it catches it and tells the user what it means."""


class ChildSilent(ChildFault):
    """It wrote nothing for longer than its deadline."""


class ChildOverdue(ChildFault):
    """It took longer than it may take as a whole."""


class ChildLineTooLong(ChildFault):
    """It wrote more than a message may have without ending the line."""


class ChildLingers(ChildFault):
    """It closed its standard output and did not end."""


@dataclass(frozen=True)
class ChildDeadlines:
    """How long a child may take.

    Attributes:
        silence_s: Without a sign of life.
        whole_s: From its start to its end.
    """

    silence_s: float = math.inf
    whole_s: float = math.inf


@dataclass(frozen=True)
class ChildEnd:
    """How a child is ended.

    Attributes:
        signal: What asks it to end; None: it is waited for only. One with a lifeline is asked by closing that.
        grace_s: How long it may take then, before it is killed.
        whole_tree: Whether processes that left its session are killed as well. Without, they carry no mark: jobs
            that it hands to somebody else outlive it.
    """

    signal: signal.Signals | None = signal.SIGTERM
    grace_s: float = 5.0
    whole_tree: bool = True


class Child:
    """A running program. Leaving its ``with`` block ends it and everything that it started.

    Args:
        command: The program and its arguments.
        environment: Its variables; those of this process when None.
        folder: Where it runs.
        messages: Whether its standard output is for `messages` or `output`; else it goes where its errors go.
        log: The file that its standard error goes to; when None, the end of it is kept for `tail`.
        show_errors: Its standard error is ours instead.
        lifeline: Whether its standard input is a pipe that closes when this process ends, however it ends.
        pass_fds: Descriptors that it inherits.
        end: How it is ended.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        messages: bool = False,
        log: Path | None = None,
        show_errors: bool = False,
        lifeline: bool = False,
        pass_fds: Sequence[int] = (),
        end: ChildEnd = ChildEnd(),  # noqa: B008  frozen
    ) -> None:
        variables = dict(os.environ if environment is None else environment)
        self._mark: dict[str, str] = {}
        if end.whole_tree:
            self._mark = {MARK + uuid.uuid4().hex: "1"}
        else:
            variables = unmarked(variables)
        self._end = end
        self._lifeline = lifeline
        self._asked_s: float | None = None
        self._is_over = False
        self._tail = b""
        self._last: Mapping[str, Any] = {}
        self._errors: IO[bytes] | None = None
        if not show_errors:
            self._errors = tempfile.TemporaryFile() if log is None else log.open("w+b")  # noqa: SIM115
        self._started_s = time.monotonic()
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if lifeline else subprocess.DEVNULL,
                stdout=subprocess.PIPE if messages else self._errors,
                stderr=self._errors,
                env={**variables, **self._mark},
                cwd=folder,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except BaseException:
            if self._errors is not None:
                self._errors.close()
            raise

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The number of its process, and of its session."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started_s

    @property
    def error(self) -> LabdError | None:
        """What its last message says it raised."""
        record = self._last.get("labd_error")
        return from_wire(record) if isinstance(record, dict) else None

    @property
    def tail(self) -> list[str]:
        """The last lines of what it wrote to its log, or to its standard error where there is none."""
        if self._errors is not None and not self._errors.closed:
            handle = self._errors.fileno()  # its position is the child's as well, which writes there: no seek
            self._tail = os.pread(handle, MAX_TAIL_BYTES, max(0, os.fstat(handle).st_size - MAX_TAIL_BYTES))
        return self._tail.decode("utf-8", "replace").splitlines()

    def messages(
        self, deadlines: ChildDeadlines, is_alive: Callable[[], bool] = lambda: False
    ) -> Iterator[dict[str, Any]]:
        """Its messages as they come, until it closes its standard output or ends.

        A message is a whole line that holds a JSON object. Other lines are stray prints and are left out, as is
        a last line without an end: whoever wrote it was killed.

        Args:
            deadlines: After which it is given up.
            is_alive: Asked about once a second while nothing comes: whether it shows life elsewhere.

        Raises:
            ChildSilent, ChildOverdue: a deadline passed.
            ChildLineTooLong: a line has more than `MAX_LINE_BYTES`.
        """
        pending = bytearray()
        for chunk in self._chunks(deadlines, is_alive):
            first, *others = chunk.split(b"\n")
            pending += first
            for following in others:
                message = load_line(pending.decode("utf-8", "replace"))
                pending = bytearray(following)
                if message is not None:
                    self._last = message
                    yield message
            if len(pending) > MAX_LINE_BYTES:
                raise ChildLineTooLong

    def output(self, timeout_s: float) -> str:
        """Wait for its end; all that it wrote to its standard output.

        Raises:
            ChildOverdue: it did not end in time.
            ChildLineTooLong: it wrote more than `MAX_LINE_BYTES`.
        """
        text = bytearray()
        for chunk in self._chunks(ChildDeadlines(whole_s=timeout_s), lambda: False):
            text += chunk
            if len(text) > MAX_LINE_BYTES:
                raise ChildLineTooLong
        try:
            self._process.wait(max(0.0, timeout_s - self.age_s))
        except subprocess.TimeoutExpired:
            raise ChildOverdue from None
        return text.decode("utf-8", "replace")

    def finish(self, timeout_s: float) -> int:
        """Wait for its end once its messages have ended; its exit code.

        Raises:
            ChildLingers: it did not end in time.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildLingers from None

    def ask(self) -> None:
        """Ask it to end, once, and do not wait for it; its messages are not read any more."""
        if self._asked_s is not None:
            return
        self._asked_s = time.monotonic()
        if not self._lifeline and self._end.signal is not None:
            self._process.send_signal(self._end.signal)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()  # what it still writes goes nowhere, and does not block it

    def end(self) -> None:
        """Ask it to end, wait as long as it was granted since it was asked first, and kill what is left."""
        if self._is_over:
            return
        try:
            self.ask()
            if self._asked_s is not None:
                left_s = self._end.grace_s - (time.monotonic() - self._asked_s)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(max(0.0, left_s))
        finally:  # a second Ctrl-C cuts the waiting short
            self.kill()

    def kill(self) -> None:
        """Kill it with everything that it started, and reap it."""
        if self._is_over:
            return
        deadline_s = time.monotonic() + REAP_TIMEOUT_S
        while time.monotonic() < deadline_s and (left := self._tree()):
            processes.send(left, signal.SIGKILL)
            time.sleep(0.005)
            self._process.poll()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(REAP_TIMEOUT_S)
        self._is_over = True
        if self._errors is not None:
            _ = self.tail
            self._errors.close()

    def _tree(self) -> list[int]:
        """Its processes that still run."""
        marked = processes.with_variables(self._mark) if self._mark else []
        return list({*processes.in_session(self.pid), *marked})

    def _chunks(self, deadlines: ChildDeadlines, is_alive: Callable[[], bool]) -> Iterator[bytes]:
        """What comes from its standard output, until that is closed or it has ended."""
        stream = self._process.stdout
        if stream is None:
            return
        heard_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                has_ended = self.code is not None
                whole_left_s = deadlines.whole_s - self.age_s
                silence_left_s = deadlines.silence_s - (time.monotonic() - heard_s)
                wait_s = 0.0 if has_ended else max(0.0, min(POLL_S, whole_left_s, silence_left_s))
                if selector.select(wait_s):
                    chunk = os.read(stream.fileno(), _CHUNK_BYTES)
                    if not chunk:
                        return
                    yield chunk
                    heard_s = time.monotonic()
                elif has_ended:
                    return  # a process that it left behind may hold the other end: that says nothing
                elif is_alive():
                    heard_s = time.monotonic()
                elif silence_left_s <= 0:
                    raise ChildSilent
                if deadlines.whole_s <= self.age_s:
                    raise ChildOverdue


def end_all(children: Iterable[Child]) -> None:
    """End *children* together: all are asked before the first is waited for."""
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.callback(child.end)
            child.ask()


def unmarked(environment: Mapping[str, str]) -> dict[str, str]:
    """*environment* for a process that is to outlive whoever starts it: no `Child` above finds it."""
    return {name: value for name, value in environment.items() if not name.startswith(MARK)}
