"""The jobs of a study in Slurm's queue: one element of a job array for every result that is missing.

What was submitted is kept beside the results, in FOLDER/slurm/NUMBER, written before Slurm is asked; the name that a
submission has in Slurm finds its jobs again. So whoever follows them may be killed at any time: the next one adopts
what waits or runs, and submits only what has neither a result nor a job. Nothing is ever cancelled from here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from labd_host.experiments import slurm
from labd_host.experiments.slurm import Demand, Submission, read_submission
from labd_host.experiments.slurm_states import (
    GONE,
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    SlurmJob,
    ending,
    read_sacct,
    read_squeue,
    waiting,
)
from labd_host.machine.child import Child, ChildEnd, ChildFault
from labd_host.machine.locks import hold
from labd_host.machine.typed_records import write_record
from labd_shared.errors import SetupError, ToolNotFound, UsageError
from labd_shared.wire import find_error

WORKER = (sys.executable, "-m", "labd_host.experiments.worker")
COMMAND_TIMEOUT_S = 30.0  # a busy controller answers within seconds
SUBMIT_TIMEOUT_S = 90.0
LOCK_PATIENCE_S = 120.0  # somebody else may be submitting
SILENCE_S = 300.0  # how long Slurm may not answer before we stop following
SETTLE_S = 10.0  # a result written on a node may be seen here a little later
POLL_S, SLOWEST_POLL_S = 0.5, 30.0
WAIT_S = 7 * 24 * 3600.0
ARRAY_LENGTH = 500  # Slurm's default limit is 1000
LOG_BYTES = 4096
_LOCK, _RECORD = "lock", "submission.json"


@dataclass(frozen=True)
class QueueState:
    """Where the job of an experiment stands.

    Attributes:
        key: The experiment's.
        job: As Slurm says.
        text: Why it waits, how it ended; "" while it runs.
    """

    key: str
    job: SlurmJob
    text: str


class _Answer(NamedTuple):
    """How a command of Slurm's ended: its exit code, all its output and the end of its errors."""

    code: int
    out: str
    errors: str


def how_to_return(standings: Iterable[QueueState]) -> str:
    """What to tell somebody who stops following jobs: that they go on, and how to end them."""
    arrays = sorted({each.job.identity.partition("_")[0] for each in standings if each.job.live}, key=int)
    ending_them = f"; scancel {' '.join(arrays)} ends them" if arrays else ""
    return f"the jobs go on in Slurm: the same command follows them again{ending_them}"


class SlurmQueue:
    """The jobs of one study.

    Args:
        folder: The study's; every node must see it under the same path.
        command: What a job runs.
        patience_s: How long `squeue` and `sacct` may take.
    """

    def __init__(
        self, folder: Path, command: Sequence[str] = WORKER, patience_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        self.folder = folder.absolute()
        self._command = tuple(command)
        self._patience_s = patience_s
        self._submissions = self.folder / "slurm"

    def standings(self, keys: Sequence[str]) -> dict[str, QueueState]:
        """Where those of *keys* stand that were ever submitted; of several jobs of a key, the last one counts.

        Raises:
            SetupError: Slurm is not there, or does not answer.
            ArtifactError: a record of a submission is damaged.
        """
        wanted = set(keys)
        last = {
            key: (where, submission, index)
            for where, submission in self._read()
            for index, key in enumerate(submission.keys)
            if key in wanted
        }
        asked = {submission.name: submission for _, submission, _ in last.values()}
        wanted_jobs = {(each.name, index) for _, each, index in last.values()}
        jobs = _ask(list(asked.values()), wanted_jobs, self._patience_s)
        return {
            key: _standing(key, where, submission, index, jobs.get((submission.name, index)))
            for key, (where, submission, index) in last.items()
        }

    def submit(
        self,
        keys: Sequence[str],
        demand: Demand,
        finished: Callable[[str], bool],
        claimed: Callable[[str], bool] = lambda key: False,
    ) -> list[str]:
        """Hand those of *keys* to Slurm for which nobody has done or does anything yet.

        Two that submit at once do so one after the other, so that no key is submitted twice.

        Args:
            keys: Of experiments.
            demand: What the jobs ask for.
            finished: Whether an experiment left its result, or the reason why it has none.
            claimed: Whether somebody is at work on it, in Slurm or elsewhere.

        Returns:
            What was submitted.

        Raises:
            SetupError: Slurm or submitit is not there, or Slurm refuses the jobs.
            UsageError: the folder of the jobs is not this user's alone, or has a name that Slurm would change.
            ArtifactError: a record of a submission is damaged.
        """
        _check_tools()
        self._submissions.mkdir(mode=0o700, exist_ok=True)
        _check_private(self._submissions)
        with hold(self._submissions / _LOCK, LOCK_PATIENCE_S, "submitting this study"):
            adopted = {key for key, standing in self.standings(keys).items() if standing.job.live}
            missing = [
                key for key in dict.fromkeys(keys) if not (key in adopted or finished(key) or claimed(key))
            ]
            for start in range(0, len(missing), ARRAY_LENGTH):
                self._submit(missing[start : start + ARRAY_LENGTH], demand)
        return missing

    def follow(
        self,
        keys: Sequence[str],
        finished: Callable[[str], bool],
        tell: Callable[[Mapping[str, QueueState]], None],
        *,
        claimed: Callable[[str], bool] = lambda key: False,
        wait_s: float = WAIT_S,
        settle_s: float = SETTLE_S,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> dict[str, str]:
        """Wait until each of *keys* is *finished* or its job has ended.

        Args:
            keys: What was submitted, now or by somebody before.
            finished: Whether an experiment left its result, or the reason why it has none.
            tell: Given the standings of what is not finished, whenever Slurm was asked.
            claimed: Whether somebody is at work on an experiment, in Slurm or elsewhere.
            wait_s: How long at most; the jobs go on then.
            settle_s: How long a job has ended before its result counts as missing.
            now_s: The time.
            sleep: What passes it.

        Returns:
            Key to sentence, for jobs that ended with no result.

        Raises:
            SetupError: Slurm did not answer for long, or *wait_s* are over; the jobs go on.
        """
        faults: dict[str, str] = {}
        ended_s: dict[str, float] = {}
        began_s = answered_s = now_s()
        pause_s, next_s = 1.0, began_s
        while left := [key for key in keys if key not in faults and not finished(key)]:
            if now_s() - began_s > wait_s:
                raise SetupError(
                    f"after {wait_s:g} s {len(left)} of {len(keys)} experiments are not finished; their jobs go on",
                    fix="type the same command again to follow them",
                )
            if now_s() >= next_s:
                try:
                    standings = self.standings(left)
                    answered_s = now_s()
                except SetupError:
                    if now_s() - answered_s > SILENCE_S:
                        raise
                else:
                    tell(standings)
                    for key in left:
                        standing = standings.get(key)
                        if claimed(key) or (standing is not None and standing.job.live):
                            ended_s.pop(key, None)  # Slurm may have put it back into the queue
                        elif now_s() - ended_s.setdefault(key, now_s()) >= settle_s:
                            faults[key] = standing.text if standing else "nobody is at work on it any more"
                pause_s = 1.0 if ended_s.keys() - faults.keys() else min(1.5 * pause_s, SLOWEST_POLL_S)
                next_s = now_s() + pause_s
            sleep(POLL_S)
        return {key: fault for key, fault in faults.items() if not finished(key)}

    def _read(self) -> Iterator[tuple[Path, Submission]]:
        for record in sorted(self._submissions.glob(f"*/{_RECORD}")):
            submission = read_submission(record)
            # Otherwise this study is a copy of that one, and the jobs are not its own.
            if submission.folder == str(self.folder):
                yield record.parent, submission

    def _submit(self, keys: Sequence[str], demand: Demand) -> None:
        taken = [int(each.name) for each in self._submissions.iterdir() if each.name.isdecimal()]
        number = 1 + max(taken, default=0)
        where = self._submissions / f"{number:04}"
        where.mkdir(mode=0o700)
        name = f"labd-{secrets.token_hex(8)}"
        submission = Submission(name, tuple(keys), self._command, str(self.folder), demand, time.time())
        write_record(where / _RECORD, submission)
        # A process of its own, because submitit waits for sbatch without a deadline; in a group of its own, because
        # Ctrl-C must not end it half-way. Should it be too late, the record stays: the jobs may come after all.
        answer = _run([sys.executable, "-m", slurm.__name__, str(where / _RECORD)], SUBMIT_TIMEOUT_S)
        if answer.code == SetupError.exit_code:
            shutil.rmtree(where)
            if (told := find_error(answer.out)) is not None:
                raise told
        if answer.code:  # a bug, and perhaps after Slurm took them
            raise RuntimeError(f"submitting {where / _RECORD} ended with {answer.code}: {answer.errors}")


def _check_tools() -> None:
    for tool in ("sbatch", "squeue", "srun"):  # submitit looks for srun to know Slurm
        if not shutil.which(tool):
            raise ToolNotFound(
                f"{tool} is not on PATH, so this machine hands nothing to Slurm",
                fix="start it on a node of the cluster that takes jobs, or without --executor slurm",
            )


def _check_private(folder: Path) -> None:
    """What lies there is run by the jobs; and Slurm replaces % in the names of logs."""
    if "%" in str(folder) or "\n" in str(folder):
        raise UsageError(
            f"Slurm cannot write logs into {str(folder)!r}", fix="name a folder without % with -o"
        )
    found = folder.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            f"{folder} can be written or read by others (mode {stat.S_IMODE(found.st_mode):o}, "
            f"user {found.st_uid}, you are {os.getuid()}), and the jobs run what lies there",
            fix=f"chmod 700 {folder} if it is yours, or give the study a folder of your own with -o",
        )


def _standing(key: str, where: Path, submission: Submission, index: int, job: SlurmJob | None) -> QueueState:
    job = job or SlurmJob(submission.name, "", index, GONE)
    if job.live:
        return QueueState(key, job, waiting(job) if job.waits else "")
    demand = submission.demand
    log = _log(where, index if len(submission.keys) > 1 else None)
    return QueueState(key, job, ending(job, log, demand.memory_gb, demand.minutes))


def _log(where: Path, index: int | None) -> str:
    """The end of what an element wrote to standard error, "" for nothing; submitit names the files."""
    for path in where.glob("*_0_log.err" if index is None else f"*_{index}_0_log.err"):
        with contextlib.suppress(OSError), path.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_BYTES))
            return log.read(LOG_BYTES).decode("utf-8", "replace")
    return ""


def _ask(
    submissions: Sequence[Submission], wanted: set[tuple[str, int]], patience_s: float
) -> dict[tuple[str, int], SlurmJob]:
    """What Slurm says of the jobs *wanted*, (name, index) each; those it does not know are missing."""
    if not submissions:
        return {}
    who = [f"--user={os.getuid()}", f"--name={','.join(each.name for each in submissions)}", "--noheader"]
    answer = _run(["squeue", *who, "--array", "--states=all", f"--format={SQUEUE_FORMAT}"], patience_s)
    if answer.code:
        raise SetupError(
            f"Slurm does not answer: {_last_line(answer.errors) or f'squeue ended with {answer.code}'}",
            fix="squeue shows when it does; what was submitted goes on, and the same command follows it",
        )
    jobs = {(job.name, job.index): job for job in read_squeue(answer.out)}
    # squeue forgets a job some minutes after its end. Accounts are kept by a service that not every cluster has.
    if wanted - jobs.keys() and shutil.which("sacct"):
        began = time.localtime(min(each.submitted_unix_s for each in submissions) - 3600)
        since = f"--starttime={time.strftime('%Y-%m-%dT%H:%M:%S', began)}"
        with contextlib.suppress(SetupError):
            answer = _run(
                ["sacct", *who, since, "--allocations", "--parsable2", f"--format={SACCT_FORMAT}"],
                patience_s,
            )
            jobs = {(job.name, job.index): job for job in read_sacct(answer.out)} | jobs
    return jobs


def _run(arguments: Sequence[str], timeout_s: float) -> _Answer:
    """Run a command of Slurm's to its end, which is within *timeout_s*.

    Raises:
        SetupError: it is not there, or took longer.
    """
    try:
        # The jobs that it hands over may run on this machine, and go on; Ctrl-C does not end it half-way.
        with Child(arguments, messages=True, end=ChildEnd(None, timeout_s, whole_tree=False)) as child:
            try:
                out = child.output(timeout_s)
            except ChildFault:
                child.kill()
                raise
    except OSError as error:
        raise ToolNotFound(
            f"{arguments[0]} cannot be started: {error.strerror}",
            fix="start it on a node of the cluster that takes jobs, or without --executor slurm",
        ) from error
    except ChildFault:
        raise SetupError(
            f"Slurm does not answer: {arguments[0]} did not end within {timeout_s:g} s",
            fix="squeue shows when it does; what was submitted goes on, and the same command follows it",
        ) from None
    return _Answer(child.code or 0, out, "\n".join(child.tail))


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
