"""The process of a hardware build, whatever builds in it: messages, finished units, one build a folder.

It leads a group of its own and ends that group when its standard input closes: should the program that
follows it be killed, no Vivado is left behind. Nothing here imports FINN.
"""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labd_host.machine.locks import take
from labd_host.machine.parent import MessageWriter, end_with_parent, take_stdout
from labd_host.machine.typed_records import write_record
from labd_host.vivado.job import (
    LOG_NAME,
    STATE_NAME,
    BuildFailure,
    BuildJob,
    BuildUnit,
    Products,
    begun,
    ended,
    failed,
    produced,
)
from labd_shared.errors import ArtifactError, LabdError, UsageError
from labd_shared.records import read_json

MAX_STATE_BYTES = 1 << 20
FINN_FOLDER = "finn"  # in the job's folder: one folder a unit
_KEY = "key"


class Units:
    """Which units of a build are finished, kept in its folder.

    Args:
        job: What is built. A folder that holds a build of another key is emptied of it.
        tell: Takes each message.
    """

    def __init__(self, job: BuildJob, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self.folder = Path(job.folder)
        self._key = job.key
        self._tell = tell
        self._lock = threading.Lock()
        self._finished = self._read()
        self._begun: BuildUnit | None = None
        self._failed: BuildUnit | None = None

    @property
    def at_fault(self) -> BuildUnit:
        """The unit that failed; of several the first, before any failed the one that was begun last."""
        return self._failed or self._begun or BuildUnit("partition", "", 1, 1, str(self.folder))

    @contextlib.contextmanager
    def working(self, unit: BuildUnit) -> Iterator[Path | None]:
        """Tell and note *unit*; yields the folder to work in, None where it was finished before.

        A unit without a folder gets one of its own, which is emptied: what lies in it is left from a run
        that did not finish.
        """
        own = not unit.folder
        if own:
            name = "-".join(filter(None, (unit.step, unit.name)))
            unit = replace(unit, folder=str(self.folder / FINN_FOLDER / name))
        where = Path(unit.folder)
        mark = _mark(unit)
        if mark in self._finished:
            self._tell(ended(unit, 0.0))
            yield None
            return
        if own:
            shutil.rmtree(where, ignore_errors=True)
            where.mkdir(parents=True)
        self._begun = unit
        self._tell(begun(unit))
        started = time.monotonic()
        try:
            yield where
        except BaseException:
            self._failed = self._failed or unit
            raise
        with self._lock:
            self._finished.append(mark)
            self._write()
        self._tell(ended(unit, time.monotonic() - started))

    def forget(self, unit: BuildUnit) -> None:
        """Have *unit* made again."""
        with self._lock:
            self._finished = [mark for mark in self._finished if mark != _mark(unit)]
            self._write()

    def _read(self) -> list[str]:
        try:
            record = read_json(self.folder / STATE_NAME, MAX_STATE_BYTES).fields((_KEY, "finished"))
            if record[_KEY].text() == self._key:
                return [mark.text() for mark in record["finished"].list()]
        except ArtifactError:
            pass  # none yet, or damaged: nothing counts as finished
        shutil.rmtree(self.folder / FINN_FOLDER, ignore_errors=True)
        for left in self.folder.glob("*.onnx"):
            left.unlink()
        return []

    def _write(self) -> None:
        """All or nothing: a build may be killed at any time."""
        write_record(self.folder / STATE_NAME, {_KEY: self._key, "finished": self._finished})


def _mark(unit: BuildUnit) -> str:
    return f"{unit.step} {unit.name}".strip()


def serve(path: Path, build: Callable[[BuildJob, Units], Products]) -> int:
    """Build the job in the file *path* and tell how it goes; the exit code.

    What *build* raises is told, and raised unless it is a `LabdError`.
    """
    job = BuildJob.read(path)
    folder = Path(job.folder)
    writer = MessageWriter(take_stdout())
    end_with_parent()
    try:
        with _alone(folder):
            _print_to(folder / LOG_NAME)
            units = Units(job, writer.send)
            try:
                writer.send(produced(build(job, units)))
            except Exception as error:
                if not isinstance(error, LabdError):
                    writer.send(failed(BuildFailure(units.at_fault, f"{type(error).__name__}: {error}")))
                raise  # its traceback goes to the log
    except LabdError as error:
        writer.send_error(error)
        return error.exit_code
    return 0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One build a folder at a time."""
    lock = take(folder / "lock")
    if lock is None:
        raise UsageError(
            f"another build is running in {folder}", fix="wait for it, or choose another folder with -o"
        )
    with lock:
        yield


def _print_to(log: Path) -> None:
    """Have what FINN and its tools print go to *log*, a new one."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
