"""A study's foldings built with Vivado: `labd build --target hw` for each, as many at once as there are licences.

A licence is a locked file of this machine, not of the study: all of a user's studies share them. The lock
goes to the build's process, so the kernel holds it until the tools have really ended, whoever is killed.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labd_host.dataflow.folding import FOLDING_FILE, to_json
from labd_host.experiments.study_model import Experiment
from labd_host.machine import places
from labd_host.machine.child import Child, ChildEnd, end_all
from labd_host.machine.locks import FileLock, take
from labd_shared.errors import UsageError
from labd_shared.manifest import MANIFEST_NAME

COMMAND = (sys.executable, "-m", "labd_host.cli.main", "build")
BUILD_GB = 8.0  # of memory that Vivado takes for a part of this size
POLL_S = 0.1
END_S = 60.0  # a build that was interrupted ends its tools first
LONGEST_S = 25 * 3600.0  # labd build itself gives up after a day
HARDWARE, BUNDLE, LOG = "hardware", "bundle", "build.log"


def bundle_of(folder: Path, experiment: Experiment) -> Path:
    """Where the bundle of *experiment* lies, or will."""
    return folder / HARDWARE / experiment.key / BUNDLE


def is_built(folder: Path, experiment: Experiment) -> bool:
    """Whether it is there: a manifest is the last that is written of one."""
    return (bundle_of(folder, experiment) / MANIFEST_NAME).is_file()


@dataclass(frozen=True)
class Licences:
    """So many builds at once on this machine.

    Attributes:
        count: Of them.
        folder: Where their locks lie.
    """

    count: int
    folder: Path

    def take(self) -> FileLock | None:
        """A free one, until all who hold it have released it or ended; None where there is none."""
        for number in range(self.count):
            if lock := take(self.folder / f"vivado.{number}"):
                return lock
        return None


def licences(count: int, memory_gb: float) -> Licences:
    """*count* licences of this machine.

    Raises:
        UsageError: so many builds do not fit into the memory.
    """
    if count * BUILD_GB > memory_gb:
        raise UsageError(
            f"{count} builds with Vivado take {count * BUILD_GB:g} GB of memory, there are {memory_gb:.3g}",
            fix=f"--vivado {max(1, int(memory_gb / BUILD_GB))}, or --memory-gb where more may be used",
        )
    return Licences(count, places.home() / "licences")


@dataclass
class _Build:
    experiment: Experiment
    child: Child
    log: Path

    def fault(self) -> str:
        """Why there is no bundle: what the command said last."""
        said = [line.strip() for line in self.child.tail if line.strip() and not line.startswith("  fix:")]
        return f"{said[-1][:300] if said else f'it ended with exit code {self.child.code}'} ({self.log})"


def build_all(
    experiments: Sequence[Experiment], folder: Path, allowed: Licences, command: Sequence[str] = COMMAND
) -> dict[str, str]:
    """Build what has no bundle in the study's *folder* yet; a build that was stopped goes on where it was.

    Args:
        experiments: Each folding once.
        command: What builds; the network and options follow it.

    Returns:
        Key -> why it was not built.
    """
    waiting = [experiment for experiment in experiments if not is_built(folder, experiment)]
    running: list[_Build] = []
    faults = {}
    deadline_s = time.monotonic() + LONGEST_S * max(1, len(waiting))
    try:
        while (waiting or running) and time.monotonic() < deadline_s:
            for build in list(running):
                if build.child.code is None and build.child.age_s < LONGEST_S:
                    continue
                running.remove(build)
                build.child.end()
                if not is_built(folder, build.experiment):
                    faults[build.experiment.key] = build.fault()
            while waiting and (licence := allowed.take()) is not None:
                with licence:  # the process has it now
                    running.append(_start(waiting.pop(0), folder, licence, command))
            time.sleep(POLL_S)
    finally:
        end_all(build.child for build in running)
    for experiment in waiting:
        faults[experiment.key] = "no licence became free"
    return faults


def _start(experiment: Experiment, folder: Path, licence: FileLock, command: Sequence[str]) -> _Build:
    bundle = bundle_of(folder, experiment)
    bundle.parent.mkdir(parents=True, exist_ok=True)
    wanted = bundle.parent / FOLDING_FILE
    wanted.write_text(to_json(experiment.settings), encoding="utf-8")
    options = ["--target", "hw", "--folding", str(wanted), "--clock-mhz", f"{experiment.clock_mhz:g}"]
    if experiment.dataset:
        options += ["--dataset", experiment.dataset]
    log = bundle.parent / LOG
    child = Child(
        [*command, experiment.network, *options, "-o", str(bundle)],
        log=log,
        pass_fds=[licence.fileno()],
        end=ChildEnd(signal.SIGINT, END_S),  # as Ctrl-C: it ends its tools and can be resumed
    )
    return _Build(experiment, child, log)
