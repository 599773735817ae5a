"""The files of a study: what is to be done, what is known, who is at work, what failed.

::

    experiments/KEY.json   what a worker does
    results/KEY.json       what came of it; written whole or not at all
    failures/KEY.json      why there is none
    measured/KEY.NN.json   what board NN showed
    claims/KEY             locked by the process that is at work on it
    events.jsonl           who began and ended what, a line each

All of it is read back as if a stranger had written it. The kernel says who lives, no process number does:
a worker that is killed leaves its claim unlocked and its attempt counted in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from labd_host.experiments.study_model import BoardMeasurement, Experiment, Result
from labd_host.machine.locks import FileLock, is_locked, take
from labd_host.machine.typed_records import find_record, to_record, write_record
from labd_shared.errors import ArtifactError, SetupError

T = TypeVar("T")
MAX_FILE_BYTES = 4 << 20
MAX_ATTEMPTS = 3  # of an experiment whose worker dies
KEY_DIGITS = 64
EXPERIMENTS, RESULTS, FAILURES, MEASURED, CLAIMS = "experiments", "results", "failures", "measured", "claims"
EVENTS = "events.jsonl"


@dataclass(frozen=True)
class ExperimentFailure:
    """Why an experiment has no result.

    Attributes:
        what: A sentence.
        attempts: How often it was tried.
    """

    what: str
    attempts: int


@dataclass(frozen=True)
class Claim:
    """What stands in a claim.

    Attributes:
        pid, host: Of the process that has it, or had.
        attempt: Which of its attempts this is, from 1 on.
        cause: Why the one before it ended, as far as somebody noticed; "" otherwise.
    """

    pid: int
    host: str
    attempt: int
    cause: str = ""


class Store:
    """The folder of a study.

    Raises:
        SetupError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            for name in (EXPERIMENTS, RESULTS, FAILURES, MEASURED, CLAIMS):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"{folder} cannot be written: {error.strerror or error}", fix="name another folder with -o"
            ) from error

    def add(self, experiments: Iterable[Experiment]) -> None:
        """Write what is to be done."""
        for experiment in experiments:
            if self._read(EXPERIMENTS, experiment.key, Experiment) is None:
                self._write(EXPERIMENTS, experiment.key, experiment)

    def experiment(self, key: str) -> Experiment:
        """What is to be done under *key*.

        Raises:
            ArtifactError: nobody added it, or its file is damaged.
        """
        found = self._read(EXPERIMENTS, key, Experiment)
        if found is None or found.key != key:
            raise ArtifactError(
                f"{self._path(EXPERIMENTS, key)} is no experiment", fix="start the study again"
            )
        return found

    def result(self, key: str) -> Result | None:
        """What is known of *key*; None where there is nothing, or nothing that can be believed."""
        found = self._read(RESULTS, key, Result)
        return found if found is not None and found.key == key else None

    def keep(self, result: Result) -> None:
        """*result* is known from now on."""
        self._write(RESULTS, result.key, result)
        self._path(FAILURES, result.key).unlink(missing_ok=True)

    def measured(self, experiment: Experiment) -> BoardMeasurement | None:
        """What its board showed; None where it was not asked, or its file cannot be believed."""
        return (
            find_record(BoardMeasurement, self._measured(experiment), MAX_FILE_BYTES)
            if experiment.board
            else None
        )

    def keep_measured(self, experiment: Experiment, measured: BoardMeasurement) -> None:
        """The board need not be asked again."""
        _write(self._measured(experiment), measured)

    def _measured(self, experiment: Experiment) -> Path:
        return self._path(MEASURED, experiment.key).with_suffix(f".{experiment.board}.json")

    def is_damaged(self, key: str) -> bool:
        """Whether there is a file of a result that says nothing."""
        return self._path(RESULTS, key).is_file() and self.result(key) is None

    def failure(self, key: str) -> ExperimentFailure | None:
        """Why *key* has no result, None where nobody gave up."""
        return self._read(FAILURES, key, ExperimentFailure)

    def fail(self, key: str, what: str, attempts: int) -> None:
        """Nobody is to try *key* again, because of *what*."""
        self._write(FAILURES, key, ExperimentFailure(what, attempts))

    def forget(self, keys: Iterable[str]) -> None:
        """Let *keys* be tried again, however often they failed."""
        for key in keys:
            self._path(FAILURES, key).unlink(missing_ok=True)
            with self.claim(key) as claim:
                if claim is not None:
                    self._path(CLAIMS, key).write_text("", encoding="utf-8")

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[Claim | None]:
        """*key*, for this process alone while the block runs; None where another process has it.

        The claim counts as an attempt until the block ends well or is interrupted: a process that dies in it
        leaves its attempt behind.
        """
        lock = take(self._path(CLAIMS, key), sign=False)
        if lock is None:
            yield None
            return
        with lock:
            before = self._read(CLAIMS, key, Claim)
            claim = Claim(os.getpid(), socket.gethostname(), 1)
            if before is not None:
                claim = replace(claim, attempt=before.attempt + 1, cause=before.cause)
            try:
                _write_claim(lock, claim)
                yield claim
            except (KeyboardInterrupt, SystemExit):
                lock.write("")
                raise
            lock.write("")

    def holder(self, key: str) -> Claim | None:
        """None if unclaimed; may briefly return the previous holder."""
        if is_locked(self._path(CLAIMS, key)):
            return self._read(CLAIMS, key, Claim) or Claim(0, "", 1)
        return None

    def died(self, pid: int, keys: Iterable[str], cause: str) -> list[str]:
        """Note why the worker *pid* of this machine died; the keys it was at work on."""
        found = []
        host = socket.gethostname()
        for key in keys:
            lock = take(self._path(CLAIMS, key), sign=False)
            if lock is None:
                continue
            with lock:
                left = self._read(CLAIMS, key, Claim)
                if left is not None and (left.pid, left.host) == (pid, host):
                    _write_claim(lock, replace(left, cause=cause))
                    self.note("died", key, cause=cause)
                    found.append(key)
        return found

    def blame(self, key: str, cause: str) -> None:
        """Note why the worker died that was at work on *key*, where one did and nobody took its place."""
        lock = take(self._path(CLAIMS, key), sign=False)
        if lock is None:
            return
        with lock:
            if (left := self._read(CLAIMS, key, Claim)) is not None:
                _write_claim(lock, replace(left, cause=cause))
                self.note("died", key, cause=cause)

    def note(self, event: str, key: str, **facts: Any) -> None:
        """Add a line to the log of events."""
        entry = {"event": event, "key": key, "pid": os.getpid(), "time_s": round(time.time(), 3), **facts}
        line = json.dumps(entry, sort_keys=True) + "\n"
        with (self.folder / EVENTS).open("ab", buffering=0) as handle:
            handle.write(line.encode("ascii"))  # one write: lines of several processes do not mix

    def _path(self, kind: str, key: str) -> Path:
        if len(key) != KEY_DIGITS or not set(key) <= set("0123456789abcdef"):
            raise ArtifactError(f"{key!r:.80} is no key of an experiment", fix="start the study again")
        return self.folder / kind / (key if kind == CLAIMS else f"{key}.json")

    def _read(self, folder: str, key: str, kind: type[T]) -> T | None:
        return find_record(kind, self._path(folder, key), MAX_FILE_BYTES)

    def _write(self, folder: str, key: str, value: Any) -> None:
        _write(self._path(folder, key), value)


def _write_claim(lock: FileLock, claim: Claim) -> None:
    lock.write(json.dumps(to_record(claim)))


def _write(path: Path, value: Any) -> None:
    try:
        write_record(path, value)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror or error}",
            fix="make room there and type the same command again: what is known is kept",
        ) from error
