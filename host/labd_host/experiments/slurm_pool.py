"""A study done by Slurm: the same folder, workers and answers as those of `labd_host.experiments.worker_pool`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from labd_host.experiments.slurm import Demand
from labd_host.experiments.slurm_queue import QueueState, SlurmQueue, how_to_return
from labd_host.experiments.store import Store
from labd_host.machine.listener import Listener


@dataclass
class SlurmPool:
    """Has Slurm do what is missing of a study.

    Attributes:
        store: The study's folder, which every node must see under the same path.
        demand: What each job asks for.
        done: Called with each key that has a result or a failure, in the order in which they come.
        listener: Told what happens.
    """

    store: Store
    demand: Demand
    done: Callable[[str], None]
    listener: Listener
    _done: set[str] = field(default_factory=set)
    _standings: Mapping[str, QueueState] = field(default_factory=dict)

    def run(self, keys: Sequence[str]) -> dict[str, str]:
        """Submit what of *keys* nobody does yet, and follow all of them to their end; Ctrl-C leaves the jobs.

        Returns:
            Key -> how its job ended, which left no result.

        Raises:
            SetupError: Slurm is not there, refuses the jobs, or does not answer.
        """
        queue = SlurmQueue(self.store.folder)
        keys = list(dict.fromkeys(keys))
        try:
            if missing := [key for key in keys if not self._finished(key)]:
                submitted = queue.submit(missing, self.demand, self._finished, self._claimed)
                self.listener.say(
                    f"Slurm: {len(submitted)} submitted, {len(missing) - len(submitted)} found at work"
                )
            faults = queue.follow(keys, self._finished, self._tell, claimed=self._claimed)
        except KeyboardInterrupt:
            self.listener.say(how_to_return(self._standings.values()))
            raise
        for key, fault in faults.items():
            self.store.blame(key, fault)
        return faults

    def _finished(self, key: str) -> bool:
        if key in self._done:
            return True
        if self.store.result(key) is None and self.store.failure(key) is None:
            return False
        self._done.add(key)
        self.done(key)
        return True

    def _claimed(self, key: str) -> bool:
        return self.store.holder(key) is not None

    def _tell(self, standings: Mapping[str, QueueState]) -> None:
        before, self._standings = summary(self._standings), standings
        if (line := summary(standings)) and line != before:
            self.listener.say(f"Slurm: {line}")


def summary(standings: Mapping[str, QueueState]) -> str:
    """How many jobs run and wait, and what for; "" where none does."""
    live = [each for each in standings.values() if each.job.live]
    reasons = Counter(each.text for each in live if each.job.waits)
    running = len(live) - sum(reasons.values())
    parts = [f"{running} run"] if running else []
    return "; ".join(parts + [f"{count} wait: {reason}" for reason, count in reasons.most_common()])
