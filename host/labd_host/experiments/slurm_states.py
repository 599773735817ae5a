"""What Slurm says of a job, read from `squeue` and `sacct` and told in words.

The states and reasons are those of Slurm's own pages, squeue(1) and sacct(1); 22.05 is the version it was run with.
A reason that is not explained here is shown as Slurm wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SQUEUE_FORMAT = "%j|%i|%T|%r"  # name, job, state, reason
SACCT_FORMAT = "JobName,JobID,State"
LIVE = {
    "COMPLETING", "CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "RUNNING",
    "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "SUSPENDED",
}  # fmt: skip
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
GONE = "GONE"  # ours, for a job that Slurm no longer knows
_REASONS = {
    "BeginTime": "Slurm starts it again in a moment",
    "JobArrayTaskLimit": "as many of this study run as may at once",
    "Licenses": "all licences are taken",
    "Priority": "jobs of higher priority come first",
    "Resources": "no node has room",
    "None": "Slurm has not looked at it yet",
}
_IDENTITY = re.compile(r"\d+(?:_(\d+))?")
# The kernel's and Slurm's own words for a job that was killed for its memory, where the state does not say it.
_MEMORY = re.compile(
    r"exceeded (job )?memory limit|oom[-_ ]kill|out of memory|MemoryError|Cannot allocate memory", re.I
)


@dataclass(frozen=True)
class SlurmJob:
    """One element of an array of jobs.

    Attributes:
        name: Of its submission.
        identity: As Slurm calls it, "123_4", "123" where the array has one element; "" for one it does not know.
        index: In the array, from 0.
        state: In Slurm's word: "PENDING", "OUT_OF_MEMORY".
        reason: Why it waits, in Slurm's word: "Licenses"; "" where nothing is said.
    """

    name: str
    identity: str
    index: int
    state: str
    reason: str = ""

    @property
    def live(self) -> bool:
        """Whether it waits or runs, so that it may still leave a result."""
        return self.state in LIVE

    @property
    def waits(self) -> bool:
        """Whether it has not begun, or has to begin again."""
        return self.state in WAITING


def read_squeue(text: str) -> Iterator[SlurmJob]:
    """The jobs of `squeue --noheader --array --format` `SQUEUE_FORMAT`; lines of another form are left out."""
    for line in text.splitlines():
        name, identity, state, reason = (line.split("|", 3) + [""] * 4)[:4]
        if (found := _IDENTITY.fullmatch(identity)) and state:
            yield SlurmJob(name, identity, int(found[1] or 0), state, reason.strip())


def read_sacct(text: str) -> Iterator[SlurmJob]:
    """The jobs of `sacct --noheader --parsable2 --format` `SACCT_FORMAT`.

    Elements that have not begun stand there as one line, "12_[3-7]": it is left out, `squeue` has them.
    """
    for line in text.splitlines():
        name, identity, state = (line.split("|") + [""] * 3)[:3]
        if (found := _IDENTITY.fullmatch(identity)) and state:
            yield SlurmJob(name, identity, int(found[1] or 0), state.split()[0])  # "CANCELLED by 1000"


def waiting(job: SlurmJob) -> str:
    """Why *job*, which waits, does not run, in words."""
    if "Held" in job.reason or "held" in job.reason or job.state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
        return f"it is held: scontrol release {job.identity}"
    return _REASONS.get(job.reason, job.reason or "Slurm says no reason")


def ending(job: SlurmJob, log: str, memory_gb: float, minutes: int) -> str:
    """How *job* ended, which left no result, as a sentence.

    Args:
        job: Not `SlurmJob.live`.
        log: The end of what it wrote to standard error, "" for nothing.
        memory_gb: That it had asked for.
        minutes: Likewise.
    """
    known = f"Slurm's job {job.identity}"
    last = _last_word(log)
    if job.state == "OUT_OF_MEMORY" or (job.state in ("FAILED", "CANCELLED") and _MEMORY.search(log)):
        return f"{known} was killed for using more than {memory_gb:g} GB of memory"
    if job.state == "TIMEOUT":
        return f"{known} was ended after its {minutes} min"
    if job.state == "CANCELLED":
        return f"{known} was cancelled"
    if job.state in ("NODE_FAIL", "BOOT_FAIL"):
        return f"{known} lost its node ({job.state})"
    if job.state in ("PREEMPTED", "REVOKED"):
        return f"{known} had to give way to another ({job.state})"
    if job.state == "COMPLETED":
        return f"{known} ended well and left no result"
    if job.state == GONE:
        return "Slurm no longer knows the job, and it left no result" + (f": {last:.200}" if last else "")
    return f"{known} failed ({job.state})" + (f": {last:.200}" if last else "")


def _last_word(log: str) -> str:
    """What the worker said last; where it said nothing, how it ended.

    Slurm's own lines are left out: its states say as much. submitit adds the worker's errors to a line of its own.
    """
    ours = [line for line in log.splitlines() if not line.startswith("slurmstepd")]
    words = (line.removeprefix("submitit.core.utils.FailedJobError").lstrip(": ") for line in reversed(ours))
    said = next((word.strip() for word in words if word.strip()), "")
    ends: list[str] = re.findall(r"died with <Signals\.(\w+): \d+>", log)
    if ends and said.startswith("raise FailedJobError"):  # the last line of submitit's traceback
        return f"its worker was ended by {ends[-1]}"
    return said
