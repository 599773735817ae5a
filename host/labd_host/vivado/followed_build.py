"""Run a hardware build in a process of its own, follow it, and leave nothing behind.

The process leads a session, and every process it starts carries a variable by which it is found again,
whatever session it moved to. Whoever follows is told of each unit, and between them of the newest line
in the tools' logs. Silence, of messages and logs alike, has a deadline; so has the whole.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labd_host.machine import places, processes
from labd_host.vivado.job import (
    LOG_NAME,
    MODULE,
    Failure,
    Job,
    Products,
    Unit,
    failure_in,
    products_in,
    unit_in,
)
from labd_host.vivado.logs import first_cause, last_line, newest_change_ns
from labd_shared.errors import BuildStalled, SetupError, ToolFailed
from labd_shared.wire import MAX_LINE_BYTES, find_error, load_line

JOB_NAME = "job.json"
TIMES_NAME = "hardware-times.json"
MARK = "LABD_HARDWARE_BUILD"  # in the environment of every process of a build
POLL_S = 1.0
END_TIMEOUT_S = 30.0
SIGKILL = 9


@dataclass(frozen=True)
class Deadlines:
    """How long a build may take.

    Attributes:
        silence_s: Without a message and without a line in any log: routing can think for a long time.
        whole_s: From beginning to end.
    """

    silence_s: float = 3600.0
    whole_s: float = 24 * 3600.0


DEADLINES = Deadlines()


@dataclass(frozen=True)
class Look:
    """How a build stands.

    Attributes:
        unit: At work.
        elapsed_s: Since the build began.
        unit_s: Since the unit began.
        expected_s: What the unit took here the last time, None where it never ran.
        line: The newest line in its logs.
    """

    unit: Unit
    elapsed_s: float
    unit_s: float
    expected_s: float | None
    line: str


@dataclass(frozen=True)
class Tell:
    """Who is told what. Each may be called often and must be quick."""

    begun: Callable[[Unit, float | None], None] = field(default=lambda unit, expected_s: None)
    ended: Callable[[Unit, float], None] = field(default=lambda unit, seconds: None)
    look: Callable[[Look], None] = field(default=lambda look: None)


NOBODY = Tell()


def run(
    job: Job,
    variables: Mapping[str, str],
    *,
    deadlines: Deadlines = DEADLINES,
    tell: Tell = NOBODY,
    module: str = MODULE,
) -> Products:
    """Build *job*; what is finished in its folder is not built again.

    Args:
        job: Its folder is made.
        variables: The environment of the process.
        deadlines: After which it is ended.
        tell: Told what happens.
        module: The Python module that builds.

    Raises:
        BuildStalled: a deadline passed.
        SetupError: the folder cannot be written.
        UsageError: another build is at work in it.
        DoesNotFit, ToolFailed, SetupError, WrongVersion: a tool gave up; the facts name its log.
    """
    folder = Path(job.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        job.write(folder / JOB_NAME)
    except OSError as error:
        raise SetupError(
            f"{folder} cannot be written: {error.strerror}",
            fix="make room there, or choose another folder: -o",
        ) from error
    mark = {MARK: uuid.uuid4().hex}
    paths = [str(Path(path).absolute()) for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(folder / JOB_NAME)],
        stdin=subprocess.PIPE,  # never written to: it closes when we end, however we end
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**variables, **mark, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=folder,  # FINN's scripts end with a cd to where they began, without quotes
        start_new_session=True,  # Ctrl-C reaches us alone; we end it in order
    )
    following = _Following(job, tell, deadlines)
    try:
        last = following.read(process)
        code = process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise BuildStalled(
            "the build told its end and did not end", fix="the same command again", log=str(folder / LOG_NAME)
        ) from error
    finally:
        _end(process, mark)
    return _result(following, folder, last, code)


class _Following:
    """What was told so far."""

    def __init__(self, job: Job, tell: Tell, deadlines: Deadlines) -> None:
        self._job = job
        self._tell = tell
        self._deadlines = deadlines
        self._started = time.monotonic()
        self._times = _Times()
        self._begun: dict[tuple[str, str], tuple[Unit, float]] = {}
        self.unit: Unit | None = None
        self.products: Products | None = None
        self.failure: Failure | None = None

    def read(self, process: subprocess.Popen[bytes]) -> str:
        """Pass on what the process tells until it closes its end; its last line."""
        last = ""
        for line in self._lines(process):
            last = line
            message = load_line(line) or {}
            self._take(message)
        return last

    def _take(self, message: Mapping[str, Any]) -> None:
        if unit := unit_in(message, "begun"):
            self.unit = unit
            self._begun[(unit.step, unit.name)] = (unit, time.monotonic())
            self._tell.begun(unit, self._times.expected_s(unit))
        elif unit := unit_in(message, "ended"):
            seconds = float(message["seconds"])
            self._begun.pop((unit.step, unit.name), None)
            self._times.note(unit, seconds)
            self._tell.ended(unit, seconds)
        elif failure := failure_in(message):
            self.failure = failure
        elif products := products_in(message):
            self.products = products

    def _lines(self, process: subprocess.Popen[bytes]) -> Iterator[str]:
        stream = process.stdout
        if stream is None:
            return
        pending = b""
        heard = time.monotonic()
        newest_ns = 0
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                ready = selector.select(POLL_S)
                now = time.monotonic()
                changed_ns = max(
                    (newest_change_ns(Path(unit.folder)) for unit, _ in self._begun.values()), default=0
                )
                if ready or changed_ns > newest_ns:
                    heard, newest_ns = now, max(newest_ns, changed_ns)
                self._check(now, heard)
                if not ready:
                    self._look(now)
                    continue
                chunk = os.read(stream.fileno(), 1 << 16)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                if len(pending) > MAX_LINE_BYTES:
                    raise ToolFailed("the build tells something without an end", fix="the same command again")
                for line in lines:
                    yield line.decode("utf-8", "replace")

    def _check(self, now: float, heard: float) -> None:
        doing = f"in {self.unit.label}" if self.unit else "before its first step"
        log = str(Path(self._job.folder) / LOG_NAME)
        if now - heard > self._deadlines.silence_s:
            raise BuildStalled(
                f"the build told nothing and wrote no log for {self._deadlines.silence_s:g} s {doing} and was ended",
                fix="the same command again, with more patience: --silence-minutes; finished steps are not repeated",
                log=log,
            )
        if now - self._started > self._deadlines.whole_s:
            raise BuildStalled(
                f"the build took longer than {self._deadlines.whole_s / 3600:g} h ({doing}) and was ended",
                fix="the same command again; finished steps are not repeated",
                log=log,
            )

    def _look(self, now: float) -> None:
        if not self._begun:
            return
        unit, begun = list(self._begun.values())[-1]
        self._tell.look(
            Look(
                unit,
                now - self._started,
                now - begun,
                self._times.expected_s(unit),
                last_line(Path(unit.folder)),
            )
        )


def _result(following: _Following, folder: Path, last: str, code: int) -> Products:
    """The products, or what went wrong."""
    log = folder / LOG_NAME
    if following.products is not None and code == 0:
        return following.products
    if told := find_error(last):
        raise told
    failure = following.failure
    unit = failure.unit if failure else following.unit
    if (
        unit is not None
        and (failure is not None or code < 0)
        and (cause := first_cause(Path(unit.folder), log))
    ):
        cause.error.facts.update(step=unit.step, unit=unit.name, log=str(cause.log), line=cause.line)
        cause.error.what = f"{unit.label}: {cause.error.what}"
        cause.error.fix += f" (log: {cause.log})" if str(cause.log) not in cause.error.fix else ""
        raise cause.error
    doing = unit.label if unit else "before its first step"
    if code == -SIGKILL:
        raise SetupError(
            f"the build was killed in {doing}: by you, or by the system for want of memory",
            fix="the same command again, perhaps with --jobs 1; finished steps are not repeated",
            log=str(log),
        )
    if failure is None:
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise ToolFailed(f"the build {ended} in {doing}", fix=f"read {log}", log=str(log))
    raise ToolFailed(
        f"{doing}: FINN gave up, and no log has an error: {' '.join(failure.message.split())[:300]}",
        fix=f"read {log} and what lies in {failure.unit.folder}",
        log=str(log),
        step=failure.unit.step,
    )


def _end(process: subprocess.Popen[bytes], mark: Mapping[str, str]) -> None:
    """End the process and everything it started."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    processes.end(list({*processes.in_session(process.pid), *processes.with_variables(mark)}))
    # Closing its input makes it end its group, too: what was started while we looked is met by one of them.
    processes.end(processes.with_variables(mark))
    process.wait(END_TIMEOUT_S)


class _Times:
    """How long units took on this machine, kept between builds: the only honest expectation there is."""

    def __init__(self) -> None:
        self._path = places.cache() / TIMES_NAME
        self._taken: dict[str, float] = {}
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            self._taken = {str(name): float(seconds) for name, seconds in record.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            pass  # none yet, or damaged: nothing is known

    def expected_s(self, unit: Unit) -> float | None:
        """What such a unit took the last time."""
        return self._taken.get(_kind(unit))

    def note(self, unit: Unit, seconds: float) -> None:
        """Keep what *unit* took; 0 means that it was finished before."""
        if not seconds:
            return
        self._taken[_kind(unit)] = seconds
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f"{TIMES_NAME}.{os.getpid()}")
            part.write_text(json.dumps(self._taken, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            part.replace(self._path)
        except OSError:
            pass  # a convenience, nothing else


def _kind(unit: Unit) -> str:
    """Units that take about the same time: a step, and in it the kind of node ("hls MVAU_hls")."""
    return unit.label.rstrip("0123456789").rstrip("_")
