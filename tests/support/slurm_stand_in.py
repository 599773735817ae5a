"""Stand-ins for Slurm's commands: what they answer lies in files, in the form in which Slurm 22.05 answers.

`install` puts them on a PATH. In their folder, `jobs` is what `squeue` shows (NAME|JOB|STATE|REASON), `accounts` what
`sacct` shows (NAME|JOB|STATE; none: a cluster without accounts), `refusal` what `sbatch` says instead of taking jobs,
`down` makes all of them fail, `silent` makes them hang. What `sbatch` was given is kept as `script.ID`.
"""

import os
import re
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "sacct", "srun", "scancel")


class Slurm:
    """The stand-ins in *folder*, as a test sees them."""

    def __init__(self, folder):
        self.folder = folder
        self.path = str(folder / "bin") + os.pathsep + os.environ["PATH"]
        (folder / "bin").mkdir(parents=True)
        for name in COMMANDS:
            program = folder / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} {folder} {name} "$@"\n')
            program.chmod(0o755)
        self.show()

    def show(self, *jobs, accounts=None):
        """What is known of the jobs: squeue's lines, and sacct's."""
        (self.folder / "jobs").write_text("".join(f"{line}\n" for line in jobs))
        (self.folder / "accounts").unlink(missing_ok=True)
        if accounts is not None:
            (self.folder / "accounts").write_text("".join(f"{line}\n" for line in accounts))

    def known(self):
        return (self.folder / "jobs").read_text().splitlines()

    def set(self, name, text=""):
        (self.folder / name).write_text(text)

    def scripts(self):
        return [path.read_text() for path in sorted(self.folder.glob("script.*"))]


def answer(folder, name, arguments):
    if (folder / "silent").exists():
        time.sleep(30)
    if (folder / "down").exists():
        return f"{name}: error: Unable to contact slurm controller (connect failure)"
    if name == "sbatch":
        return submit(folder, arguments)
    if name == "sacct" and not (folder / "accounts").exists():
        return "Slurm accounting storage is disabled"
    wanted = next(each for each in arguments if each.startswith("--name=")).partition("=")[2].split(",")
    for line in (folder / ("jobs" if name == "squeue" else "accounts")).read_text().splitlines():
        if line.partition("|")[0] in wanted:
            sys.stdout.write(line + "\n")
    return ""


def submit(folder, arguments):
    if (folder / "refusal").exists():
        return "sbatch: error: Batch job submission failed: " + (folder / "refusal").read_text()
    script = Path(arguments[0]).read_text()
    number = 101 + len(list(folder.glob("script.*")))
    (folder / f"script.{number}").write_text(script)
    name = re.search(r"^#SBATCH --job-name=(\S+)$", script, re.M)[1]
    array = re.search(r"^#SBATCH --array=0-(\d+)%", script, re.M)
    jobs = [f"{number}_{index}" for index in range(int(array[1]) + 1)] if array else [str(number)]
    with (folder / "jobs").open("a") as known:
        known.writelines(f"{name}|{job}|PENDING|None\n" for job in jobs)
    sys.stdout.write(f"Submitted batch job {number}\n")
    return ""


if __name__ == "__main__":
    fault = answer(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    if fault:
        sys.stderr.write(fault + "\n")
        sys.exit(1)
