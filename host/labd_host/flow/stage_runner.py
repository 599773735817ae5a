"""Stages, one after another: finished ones are used again, the others made, proven and recorded."""

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from labd_host.flow import stage_cache
from labd_host.flow.compiled_network import CompiledStage
from labd_host.flow.cost import ESTIMATE_FILE
from labd_host.flow.finn_door import tool_versions
from labd_host.flow.stage_records import (
    NOT_BEFORE,
    Inputs,
    Ledger,
    Record,
    code_sha256,
    load_observation,
    save_observation,
    stage_path,
)
from labd_host.flow.stage_tasks import StageResult, StageTask
from labd_host.machine.listener import Listener
from labd_host.proof.observe import Observation
from labd_host.proof.proof import Proof, compare, first_proof, missing_proof
from labd_shared.digest import file_sha256, json_sha256

COMPILE = "compile"  # the task that a listener is shown
# What a stage takes of the time of a compile, in parts: CNV's on two cores. Others differ, their bars adapt.
_PARTS = {
    "exported": 1,
    "tidy": 1,
    "prepost": 1,
    "streamlined": 6,
    "hardware": 2,
    "partition": 3,
    "folded": 2,
    "golden": 1,
    "answers": 1,
}


class StageRunner:
    """The stages of one compilation so far, and what the last one computed.

    Args:
        folder: Where the files of the stages go.
        start: The first stage to be made again, whatever is there; None for none.
        ignored: Names of `proof.CHECKS` that may fail.
        listener: Called with a line about what happens.

    Attributes:
        stages: Those that are done, in order.
        tools: Distribution -> version.
    """

    def __init__(self, folder: Path, start: str | None, ignored: Collection[str], listener: Listener) -> None:
        self.stages: list[CompiledStage] = []
        self.tools = tool_versions()
        self._folder = folder
        self._ledger = Ledger(folder, start)
        self._ignored = frozenset(ignored)
        self._listener = listener
        self._last: Record | None = None
        self._observed: Observation | None = None  # of the last stage; None where it was used again

    def advance(self, task: StageTask) -> None:
        """Use the finished stage of *task* again, or make, prove and record it.

        Raises:
            StageMismatch: the stage computes something else than the stage before it.
            UsageError: it must be made, and only a later stage was asked for.
            LabdError: as `StageTask.make`.
        """
        started = time.monotonic()
        done = sum(_PARTS[stage.name] for stage in self.stages)
        self._listener.progress(COMPILE, done, sum(_PARTS.values()), task.name)
        inputs = self._inputs(task)
        names = [path.name for path in task.files] if task.compares else []
        record, why = self._ledger.finished(task.name, inputs, names), ""
        if record is None and not self._ledger.asked_for(task.name):
            record = self._fetched(task, inputs, names)
        if record is not None and not self._ignored.issuperset(record.proof.ignored):
            record, why = None, "a check of it was ignored before"
        if record is None:
            why = why or self._ledger.why_anew(task.name, inputs, names)
            self._listener.say(f"{task.name}: {task.title}{'' if why == NOT_BEFORE else f' (again: {why})'}")
            record = self._made(task, inputs)
        else:
            self._listener.say(f"{task.name}: finished before, used again")
            self._observed = None
        record = replace(record, files={each.name: file_sha256(each) for each in task.files})
        self._ledger.keep(record)
        if not record.proof.ignored and not record.proof.missing:
            stage_cache.keep(record, names, self._folder)
        self._last = record
        seconds = time.monotonic() - started
        self.stages.append(
            CompiledStage(task.name, task.title, task.path, record.proof, record.nodes, seconds, why)
        )

    def end(self) -> None:
        """Tell that no stage follows."""
        total = sum(_PARTS.values())
        self._listener.progress(COMPILE, total, total)

    def _fetched(self, task: StageTask, inputs: Inputs, names: Sequence[str]) -> Record | None:
        """The stage as another command or folder finished it, brought here; None where the cache lacks it."""
        if not stage_cache.entry_of(task.name, inputs, names).is_dir():
            return None
        self._begin(task)
        return stage_cache.fetch(task.name, inputs, names, self._folder)

    def _inputs(self, task: StageTask) -> Inputs:
        return Inputs(
            source=file_sha256(task.source),
            before=_values_sha256(self._last) if task.compares else "",
            steps=json_sha256([asdict(step) for step in task.steps]),
            settings=json_sha256(task.settings),
            images=task.frames.sha256,
            labd=code_sha256(),
            tools=json_sha256(self.tools),
        )

    def _made(self, task: StageTask, inputs: Inputs) -> Record:
        """Make the stage of *task* and prove it; its record, which lacks the digests of its files."""
        made = task.make(lambda: self._begin(task))
        for note in made.notes:
            self._listener.say(f"{task.name}: {note}")
        proof = self._proof(task, made)
        points: tuple[tuple[str, str], ...] = ()
        if task.values:
            save_observation(task.values, made.observed)
            points = tuple((point.kind, point.layer) for point in made.observed.points)
        self._observed = made.observed
        return Record(
            stage=task.name,
            title=task.title,
            file=task.path.name,
            files={},
            nodes=made.nodes,
            inputs=inputs,
            steps=[asdict(step) for step in task.steps],
            observed=points,
            proof=proof,
            tools=self.tools,
        )

    def _begin(self, task: StageTask) -> None:
        """The files of the stage are about to be replaced: those that are there may be shared with the cache."""
        self._ledger.begin(task.name)
        if task.compares:
            for path in task.files:
                path.unlink(missing_ok=True)
        (self._folder / ESTIMATE_FILE).unlink(missing_ok=True)

    def _proof(self, task: StageTask, made: StageResult) -> Proof:
        if made.missing:
            return missing_proof(task.name, made.against or "", made.missing)
        if made.against is not None and made.before is not None:
            return compare(task.name, made.observed, made.against, made.before, ignored=self._ignored)
        if self._last is None:
            return first_proof(task.name, made.observed)
        before = self._observed or load_observation(self._folder, self._last)
        return compare(
            task.name,
            made.observed,
            self._last.stage,
            before,
            moves_scales=task.moves_scales,
            ignored=self._ignored,
        )


def _values_sha256(record: Record | None) -> str:
    """Digest of what the stage of *record* computed."""
    return record.files[stage_path(Path(), record.stage, ".npz").name] if record else ""
