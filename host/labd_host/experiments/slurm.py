"""Jobs to Slurm, through submitit: the batch script, the array and its number.

submitit hands functions over as pickles, which the jobs load: they lie in a folder that is the user's alone
(`labd_host.experiments.slurm_queue`), and say no more than which command to run. What the jobs pickle as their
answer is never read: results are the files that the jobs' workers write, as anywhere else.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host.machine.typed_records import read_record
from labd_shared.errors import LabdError, SetupError, UsageError
from labd_shared.records import Origin
from labd_shared.wire import dump_error

MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class Demand:
    """What each job asks Slurm for.

    Attributes:
        memory_gb: Of main memory.
        cpus: Cores.
        minutes: Until Slurm ends it.
        licenses: In Slurm's form, "vivado:1"; "" for none.
        partition, account: "" for the user's default.
        at_once: Jobs of a submission that may run at a time.
    """

    memory_gb: float = 1.0  # twice what a worker takes: submitit's own process is beside it
    cpus: int = 1
    minutes: int = 60
    licenses: str = ""
    partition: str = ""
    account: str = ""
    at_once: int = 256

    def __post_init__(self) -> None:
        """Refuse what would be another line of the batch script.

        Raises:
            UsageError: a text holds more than names, numbers and what stands between them.
        """
        for text in (self.licenses, self.partition, self.account):
            if not re.fullmatch(r"[\w.@:,+/-]*", text, re.ASCII) or text.startswith("-"):
                raise UsageError(
                    f"{text!r:.60} is no licence, partition or account of Slurm",
                    fix="sinfo, scontrol show licenses and sacctmgr show associations name yours",
                )


@dataclass(frozen=True)
class Submission:
    """An array of jobs that was handed to Slurm, or was about to be.

    Attributes:
        name: Of the jobs in Slurm; no other submission has it.
        keys: Element i does experiment ``keys[i]``.
        command: What an element runs, with the study's folder and its key as last arguments.
        folder: Of the study.
        demand: What the jobs ask for.
        submitted_unix_s: When.
    """

    name: str
    keys: tuple[str, ...]
    command: tuple[str, ...]
    folder: str
    demand: Demand
    submitted_unix_s: float


def read_submission(path: Path) -> Submission:
    """The record of a submission.

    Raises:
        ArtifactError: it is damaged, or none.
    """
    fix = f"squeue shows whether its jobs still run; then rm -r {path.parent}"
    origin = Origin(str(path), fix)
    try:
        submission = read_record(Submission, path, MAX_RECORD_BYTES, origin)
    except UsageError as error:  # of its `Demand`
        raise origin.fault(error.what) from error
    if not all(re.fullmatch("[0-9a-f]{64}", key) for key in submission.keys):
        raise origin.fault("keys are not all digests")
    if not re.fullmatch("labd-[0-9a-f]{16}", submission.name):
        raise origin.fault(f"name is {submission.name!r:.60}, labd- and 16 hexadecimal digits are wanted")
    return submission


def submit(record: Path) -> None:
    """Hand the submission of *record* to Slurm through submitit.

    Raises:
        SetupError: submitit is not installed, or Slurm refuses the jobs.
        ArtifactError: *record* is damaged.
    """
    submitit = _submitit()
    wanted = read_submission(record)
    demand = wanted.demand
    executor = submitit.SlurmExecutor(folder=record.parent)
    more = {"licenses": demand.licenses} if demand.licenses else {}
    where = {name: value for name in ("partition", "account") if (value := getattr(demand, name))}
    executor.update_parameters(
        job_name=wanted.name,
        time=demand.minutes,
        mem=f"{math.ceil(demand.memory_gb * 1024)}M",
        cpus_per_task=demand.cpus,
        array_parallelism=demand.at_once,
        use_srun=False,  # a step of its own would have to be given the job's cores and memory anew
        # submitit wants a signal a while before the time is over, to start its function again; to a job that
        # has less time than that it comes at once. This one asks for nothing.
        additional_parameters={"signal": "CONT@1", **more},
        **where,
    )
    job = submitit.helpers.CommandFunction([*wanted.command, wanted.folder], verbose=False)
    try:
        executor.map_array(job, list(wanted.keys))
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise SetupError(
            f"Slurm does not take the jobs: {str(error).strip().splitlines()[-1]:.300}",
            fix="labd experiments --help shows how to ask for licences, memory, a partition, an account",
        ) from error


def _submitit() -> Any:
    """The library, which only those who have a cluster need."""
    try:
        import submitit
        import submitit.helpers
    except ImportError as error:
        raise SetupError(
            f"submitit, which hands jobs to Slurm, cannot be imported: {error}",
            fix=f"{sys.executable} -m pip install submitit",
        ) from error
    return submitit


def main() -> int:
    """Submit the record that is named; an error goes to standard output as JSON."""
    try:
        submit(Path(sys.argv[1]))
    except LabdError as error:
        sys.stdout.write(dump_error(error) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
