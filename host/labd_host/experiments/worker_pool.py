"""The worker processes of this machine: as many as there is room for, each taking what nobody else does.

The pool holds no state of its own. It looks at the study's folder, starts workers for what is free, and asks
again: so it may be killed and started anew, or run twice at once on one study, and nothing is done twice.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labd_host.experiments.store import MAX_ATTEMPTS, Store
from labd_host.machine.child import Child, ChildEnd, end_all
from labd_shared.errors import BuildError, UsageError

WORKER_GB = 0.5  # of memory that one worker takes at most, the compiled simulator in it
POLL_S = 0.05
END_S = 5.0  # a worker that was asked to end, before it is killed
WORKER = "labd_host.experiments.worker"


@dataclass(frozen=True)
class PoolLimits:
    """What a pool may use.

    Attributes:
        jobs: Workers at once.
        timeout_s: Longest time for one experiment.
    """

    jobs: int
    timeout_s: float


def limits(jobs: int | None, memory_gb: float | None, timeout_s: float) -> PoolLimits:
    """As many workers as asked for, or as there are cores, and never more than fit into the memory.

    Raises:
        UsageError: the memory holds none.
    """
    room_gb = memory_gb if memory_gb is not None else available_gb()
    fitting = int(room_gb / WORKER_GB)
    if fitting < 1:
        raise UsageError(
            f"{room_gb:.2g} GB of memory hold no worker, one takes {WORKER_GB:g}",
            fix="give more: --memory-gb 1",
        )
    return PoolLimits(min(jobs or len(os.sched_getaffinity(0)), fitting), timeout_s)


def available_gb() -> float:
    """Memory that programs may still take on this machine."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / (1 << 20)
    return WORKER_GB


@dataclass
class _Worker:
    child: Child
    has_claimed: bool = False

    def cause(self, code: int) -> str:
        """Why it died with exit code *code*."""
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return "it was killed (signal 9), as the kernel does when memory runs out"
        if code < 0:
            return f"it was ended by signal {-code}"
        said = [line for line in self.child.tail if line.strip()]
        return f"it ended with exit code {code}{': ' + said[-1][:200] if said else ''}"


@dataclass
class WorkerPool:
    """Does what is missing of a study.

    Attributes:
        store: The study's folder.
        limits: What may be used.
        done: Called with each key that has a result or a failure, in the order in which they come.
    """

    store: Store
    limits: PoolLimits
    done: Callable[[str], None]
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _since_s: dict[tuple[int, str, str], float] = field(default_factory=dict)
    _stillborn: int = 0

    def run(self, keys: Sequence[str]) -> dict[str, str]:
        """Do *keys*, or wait until others have.

        Returns:
            Key -> why it was left to another process that does not come to an end.
        """
        left, abandoned = list(dict.fromkeys(keys)), dict[str, str]()
        try:
            while left := self._not_done(left):
                self._reap(left)
                free = []
                for key in list(left):
                    holder = self.store.holder(key)
                    if holder is None:
                        free.append(key)
                    elif why := self._overdue(key, holder.pid, holder.host):
                        left.remove(key)
                        abandoned[key] = why
                self._start(free, len(left) - len(free))
                time.sleep(POLL_S)
        finally:
            self._end()
        return abandoned

    def _not_done(self, keys: Sequence[str]) -> list[str]:
        left = []
        for key in keys:
            if self.store.result(key) is None and self.store.failure(key) is None:
                left.append(key)
            else:
                self.done(key)
        return left

    def _start(self, free: Sequence[str], held: int) -> None:
        """Workers for *free*; those that have not claimed anything yet will take some of them."""
        while len(self._workers) < min(self.limits.jobs, len(free) + held) and len(free) > self._idle():
            command = [sys.executable, "-m", WORKER, str(self.store.folder), *free]
            child = Child(command, end=ChildEnd(grace_s=END_S))
            self._workers[child.pid] = _Worker(child)

    def _idle(self) -> int:
        return sum(not worker.has_claimed for worker in self._workers.values())

    def _reap(self, keys: Sequence[str]) -> None:
        """Let go of the workers that have ended; those that died on the way leave a word why."""
        for pid, worker in list(self._workers.items()):
            in_time = worker.has_claimed or worker.child.age_s <= self.limits.timeout_s
            if worker.child.code is None and in_time:
                continue
            worker.child.kill()
            del self._workers[pid]
            code = worker.child.code
            if code and not self.store.died(pid, keys, worker.cause(code)):
                self._stillborn += 1
                if self._stillborn == MAX_ATTEMPTS:
                    raise BuildError(
                        f"{MAX_ATTEMPTS} workers ended before they did anything, the last one: {worker.cause(code)}",
                        fix=f"try one by hand: {sys.executable} -m {WORKER} {self.store.folder} {keys[0]}",
                    )

    def _overdue(self, key: str, pid: int, host: str) -> str:
        """Why nobody waits any longer for *key*; "" while somebody does."""
        now_s = time.monotonic()
        waited_s = now_s - self._since_s.setdefault((pid, host, key), now_s)
        worker = self._workers.get(pid) if host == socket.gethostname() else None
        if worker is not None:
            worker.has_claimed = True
        if waited_s <= self.limits.timeout_s:
            return ""
        if worker is None:
            return f"process {pid} on {host} has been at work on it for more than {self.limits.timeout_s:g} s"
        worker.child.kill()
        self.store.fail(key, f"it took longer than {self.limits.timeout_s:g} s", 1)
        return ""

    def _end(self) -> None:
        """Nothing of ours is left behind."""
        end_all(worker.child for worker in self._workers.values())
        self._workers.clear()
