"""A study's foldings built with Vivado: `labd build --target hw` for each, as many at once as there are licences.

A licence is a locked file of this machine, not of the study: all of a user's studies share them. The lock
goes to the build's process, so the kernel holds it until the tools have really ended, whoever is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from labd_host.dataflow.folding import to_json
from labd_host.experiments.study_model import Experiment
from labd_host.machine import places
from labd_host.machine.locks import lock
from labd_shared.errors import UsageError
from labd_shared.manifest import MANIFEST_NAME

COMMAND = (sys.executable, "-m", "labd_host.cli.main", "build")
BUILD_GB = 8.0  # of memory that Vivado takes for a part of this size
POLL_S = 0.1
END_S = 60.0  # a build that was interrupted ends its tools first
LONGEST_S = 25 * 3600.0  # labd build itself gives up after a day
MAX_TAIL_BYTES = 1 << 14
HARDWARE, BUNDLE, FOLDING, LOG = "hardware", "bundle", "folding.json", "build.log"


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

    def take(self) -> IO[bytes] | None:
        """A free one, until it is closed by all who hold it; None where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.count):
            handle = (self.folder / f"vivado.{number}").open("ab")
            if lock(handle):
                return handle
            handle.close()
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
    process: subprocess.Popen[bytes]
    log: Path
    began_s: float

    def fault(self) -> str:
        """Why there is no bundle: what the command said last."""
        with self.log.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - MAX_TAIL_BYTES))
            lines = handle.read().decode("utf-8", "replace").splitlines()
        said = [line.strip() for line in lines if line.strip() and not line.startswith("  fix:")]
        return (
            f"{said[-1][:300] if said else f'it ended with exit code {self.process.returncode}'} ({self.log})"
        )


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
                if build.process.poll() is None and time.monotonic() - build.began_s < LONGEST_S:
                    continue
                running.remove(build)
                _end([build])
                if not is_built(folder, build.experiment):
                    faults[build.experiment.key] = build.fault()
            while waiting and (licence := allowed.take()) is not None:
                with licence:  # the process has it now
                    running.append(_start(waiting.pop(0), folder, licence, command))
            time.sleep(POLL_S)
    finally:
        _end(running)
    for experiment in waiting:
        faults[experiment.key] = "no licence became free"
    return faults


def _start(experiment: Experiment, folder: Path, licence: IO[bytes], command: Sequence[str]) -> _Build:
    bundle = bundle_of(folder, experiment)
    bundle.parent.mkdir(parents=True, exist_ok=True)
    wanted = bundle.parent / FOLDING
    wanted.write_text(to_json(experiment.settings), encoding="utf-8")
    options = ["--target", "hw", "--folding", str(wanted), "--clock-mhz", f"{experiment.clock_mhz:g}"]
    log = bundle.parent / LOG
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*command, experiment.network, *options, "-o", str(bundle)],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            pass_fds=[licence.fileno()],
            start_new_session=True,  # Ctrl-C reaches us alone; we end them in order
        )
    return _Build(experiment, process, log, time.monotonic())


def _end(builds: Sequence[_Build]) -> None:
    """An interrupt lets a build end its tools; what does not listen is killed."""
    for build in builds:
        if build.process.poll() is None:
            build.process.send_signal(signal.SIGINT)
    deadline_s = time.monotonic() + END_S
    for build in builds:
        try:
            build.process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            build.process.kill()
            build.process.wait(END_S)
