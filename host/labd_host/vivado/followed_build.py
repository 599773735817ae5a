"""Run a hardware build in a process of its own, follow it, and leave nothing behind.

Whoever follows is told of each unit, and between them of the newest line in the tools' logs. Silence, of
messages and logs alike, has a deadline; so has the whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labd_host.machine import places
from labd_host.machine.child import (
    Child,
    ChildDeadlines,
    ChildEnd,
    ChildFault,
    ChildLingers,
    ChildOverdue,
    ChildSilent,
)
from labd_host.machine.listener import SILENT, Listener
from labd_host.machine.typed_records import write_record
from labd_host.vivado.job import (
    LOG_NAME,
    MODULE,
    STEPS,
    BuildFailure,
    BuildJob,
    BuildUnit,
    Products,
    failure_in,
    products_in,
    unit_in,
)
from labd_host.vivado.logs import first_cause, last_line, newest_change_ns
from labd_shared.errors import ArtifactError, BuildStalled, LabdError, SetupError, ToolFailed
from labd_shared.records import read_json

JOB_NAME = "job.json"
TIMES_NAME = "hardware-times.json"
MAX_TIMES_BYTES = 1 << 20
END_TIMEOUT_S = 30.0
# Silence is no message and no line in any log: routing can think for a long time.
DEADLINES = ChildDeadlines(silence_s=3600.0, whole_s=24 * 3600.0)


def run(
    job: BuildJob,
    variables: Mapping[str, str],
    *,
    deadlines: ChildDeadlines = DEADLINES,
    listener: Listener = SILENT,
    module: str = MODULE,
) -> Products:
    """Build *job*; what is finished in its folder is not built again.

    Args:
        job: Its folder is made.
        variables: The environment of the process.
        deadlines: After which it is ended.
        listener: Told what begins and ends, and how far the newest step is beside what it took the last time.
        module: The Python module that builds.

    Raises:
        BuildStalled: a deadline passed.
        SetupError: the folder cannot be written.
        UsageError: another build is running in it.
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
    paths = [str(Path(path).absolute()) for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    with Child(
        [sys.executable, "-P", "-m", module, str(folder / JOB_NAME)],
        environment={**variables, "PYTHONPATH": os.pathsep.join(paths)},
        folder=folder,  # FINN's scripts end with a cd to where they began, without quotes
        messages=True,
        lifeline=True,
        end=ChildEnd(grace_s=END_TIMEOUT_S),
    ) as child:
        following = _Following(job, listener)
        try:
            for message in child.messages(deadlines, following.look):
                following.take(message)
            code = child.finish(END_TIMEOUT_S)
        except ChildFault as fault:
            raise _given_up(fault, deadlines, following.place, folder / LOG_NAME) from fault
    return _result(following, folder, code, child)


def _given_up(fault: ChildFault, deadlines: ChildDeadlines, place: str, log: Path) -> LabdError:
    """What *fault* means for the user."""
    again = "the same command again; finished steps are not repeated"
    match fault:
        case ChildSilent():
            return BuildStalled(
                f"the build sent nothing and wrote no log for {deadlines.silence_s:g} s {place} and was ended",
                fix="the same command again, with more patience: --silence-minutes; finished steps are not repeated",
                log=str(log),
            )
        case ChildOverdue():
            return BuildStalled(
                f"the build took longer than {deadlines.whole_s / 3600:g} h ({place}) and was ended",
                fix=again,
                log=str(log),
            )
        case ChildLingers():
            return BuildStalled("the build closed its output but did not exit", fix=again, log=str(log))
    return ToolFailed(f"the build sent a line without an end {place} and was ended", fix=again, log=str(log))


class _Following:
    """What a running build has sent so far."""

    def __init__(self, job: BuildJob, listener: Listener) -> None:
        self._job = job
        self._listener = listener
        self._step = ""
        self._started = time.monotonic()
        self._times = _Times()
        self._newest_ns = 0
        self._begun: dict[tuple[str, str], tuple[BuildUnit, float]] = {}
        self.unit: BuildUnit | None = None
        self.products: Products | None = None
        self.failure: BuildFailure | None = None

    @property
    def place(self) -> str:
        """Where the build is: "in hls MVAU_hls_1"."""
        return _place(self.unit)

    def take(self, message: Mapping[str, Any]) -> None:
        """Note a message of the build and pass it on."""
        if unit := unit_in(message, "begun"):
            self.unit = unit
            self._begun[(unit.step, unit.name)] = (unit, time.monotonic())
            self._say_begun(unit, self._times.expected_s(unit))
        elif unit := unit_in(message, "ended"):
            seconds = float(message["seconds"])
            self._begun.pop((unit.step, unit.name), None)
            self._times.note(unit, seconds)
            took = f"done in {duration(seconds)}" if seconds else "was done before"
            self._listener.say(f"  {_among(unit)} {took}")
        elif failure := failure_in(message):
            self.failure = failure
        elif products := products_in(message):
            self.products = products

    def _say_begun(self, unit: BuildUnit, expected_s: float | None) -> None:
        if unit.step != self._step:
            self._step = unit.step
            self._listener.say(f"{unit.step}: {STEPS.get(unit.step, '')}")
        expected = f", {duration(expected_s)} the last time" if expected_s and expected_s >= 1 else ""
        self._listener.say(f"  {_among(unit)} begun{expected}; logs in {Path(unit.folder).name}")
        self._listener.progress(_among(unit), 0.0, expected_s)

    def look(self) -> bool:
        """Pass on how the newest unit stands; whether a log has grown since the last look."""
        if not self._begun:
            return False
        unit, begun = list(self._begun.values())[-1]
        now = time.monotonic()
        whole = f"in all {duration(now - self._started)}  {last_line(Path(unit.folder))}"
        self._listener.progress(_among(unit), now - begun, self._times.expected_s(unit), whole)
        changed_ns = max(newest_change_ns(Path(unit.folder)) for unit, _ in self._begun.values())
        before_ns, self._newest_ns = self._newest_ns, max(changed_ns, self._newest_ns)
        return changed_ns > before_ns


def duration(seconds: float) -> str:
    """ "42 s", "3 min 05 s", "1 h 02 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _among(unit: BuildUnit) -> str:
    """ "hls MVAU_hls_2, 3 of 7"."""
    return unit.label + (f", {unit.number} of {unit.of}" if unit.of > 1 else "")


def _place(unit: BuildUnit | None) -> str:
    return f"in {unit.label}" if unit else "before its first step"


def _result(following: _Following, folder: Path, code: int, child: Child) -> Products:
    """The products, or what went wrong."""
    log = folder / LOG_NAME
    if following.products is not None and code == 0:
        return following.products
    if child.error:
        raise child.error
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
    place = _place(unit)
    if code == -signal.SIGKILL:
        raise SetupError(
            f"the build was killed {place}: by you, or by the system for want of memory",
            fix="the same command again, perhaps with --jobs 1; finished steps are not repeated",
            log=str(log),
        )
    if failure is None:
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        before_log = "".join(f": {line.strip()[:200]}" for line in child.tail[-1:])
        raise ToolFailed(f"the build {ended} {place}{before_log}", fix=f"read {log}", log=str(log))
    raise ToolFailed(
        f"{failure.unit.label}: FINN gave up, and no log has an error: {' '.join(failure.message.split())[:300]}",
        fix=f"read {log} and what lies in {failure.unit.folder}",
        log=str(log),
        step=failure.unit.step,
    )


class _Times:
    """How long units took on this machine, kept between builds: the only honest expectation there is."""

    def __init__(self) -> None:
        self._path = places.cache() / TIMES_NAME
        self._taken: dict[str, float] = {}
        with contextlib.suppress(ArtifactError):  # none yet, or damaged: nothing is known
            record = read_json(self._path, MAX_TIMES_BYTES).entries()
            self._taken = {name: seconds.number(0.0) for name, seconds in record.items()}

    def expected_s(self, unit: BuildUnit) -> float | None:
        """What such a unit took the last time."""
        return self._taken.get(_kind(unit))

    def note(self, unit: BuildUnit, seconds: float) -> None:
        """Keep what *unit* took; 0 means that it was finished before."""
        if not seconds:
            return
        self._taken[_kind(unit)] = seconds
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_record(self._path, self._taken)
        except OSError:
            pass  # a convenience, nothing else


def _kind(unit: BuildUnit) -> str:
    """Units that take about the same time: a step, and in it the kind of node ("hls MVAU_hls")."""
    return unit.label.rstrip("0123456789").rstrip("_")
