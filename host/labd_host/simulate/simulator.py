"""Cycle-accurate simulation of a machine: latency, interval, FIFO high-water marks, stalls, deadlocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import WidthConverter
from labd_host.dataflow.programs import Gear, Loop, Replay, WholeWindow, Window
from labd_host.simulate.pipeline import Machine, PipelineUnit
from labd_shared.errors import BuildError, UsageError

if TYPE_CHECKING:
    from labd_host.simulate.simulator_kernel import KernelArrays

STATES = ("idle", "working", "starved", "blocked")
IDLE, WORKING, STARVED, BLOCKED = range(4)
MOST_UNIT_CYCLES = (
    40_000_000_000  # minutes where words move in every cycle, seconds where most cycles are quiet
)
UNIT_CYCLES_AT_ONCE = 100_000_000  # below a second: an interrupt is heard between two such parts

Counts = npt.NDArray[np.int64]


class Deadlock(BuildError):
    """Nothing in the machine can move any more, and frames are missing."""


@dataclass(frozen=True, eq=False)
class RunTrace:
    """What happened over time, in rows of *bucket_cycles*.

    Attributes:
        bucket_cycles: Cycles of one row; 1 is every cycle.
        units: (rows, units, 4) cycles idle, working, starved, blocked.
        fifos: (rows, fifos) the most words in each.
    """

    bucket_cycles: int
    units: Counts
    fifos: Counts


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a run showed.

    Attributes:
        machine: What ran.
        finished: (frames,) the cycle in which the last word of each frame left; the first word of the first
            frame goes in in cycle 0.
        cycles: Of the whole run.
        high_water: (fifos,) the most words each FIFO held.
        busy: (units, 4) cycles idle, working, starved, blocked.
        trace: Over time, if asked for.
    """

    machine: Machine
    finished: Counts
    cycles: int
    high_water: Counts
    busy: Counts
    trace: RunTrace | None

    @property
    def latency_cycles(self) -> int:
        """From the first word in to the last word of the first frame out."""
        return int(self.finished[0])

    @property
    def interval_cycles(self) -> float:
        """Cycles between two frames once the pipeline is full; NaN of a single frame.

        The mean over the second half of the frames: where the interval alternates, so does the steady state.
        """
        last = len(self.finished) - 1
        middle = last // 2
        return float(self.finished[last] - self.finished[middle]) / (last - middle) if last else math.nan

    @property
    def bottleneck(self) -> PipelineUnit:
        """The unit that is busy most of the time, working or emptying its pipeline; of several, the first.

        A converter is none: it works as long as its slower neighbour does.
        """
        occupied = self.busy[:, WORKING].copy()
        for index, unit in enumerate(self.machine.units):
            if unit.inputs:  # a source is idle once it has given all frames
                occupied[index] += self.busy[index, IDLE]
            if unit.op == WidthConverter.op:
                occupied[index] = 0
        return self.machine.units[int(np.argmax(occupied))]


def simulate(
    machine: Machine, frames: int = 1, *, trace_rows: int = 0, max_cycles: int | None = None
) -> Simulation:
    """Run *machine* until *frames* have left it.

    Args:
        frames: At least 1; the interval needs two, and more where it takes long to become steady.
        trace_rows: Sum the run up in at most so many rows over time; 0: no trace.
        max_cycles: Give up after so many; by default after what takes minutes.

    Raises:
        Deadlock: nothing moves; says who waits for which FIFO.
        UsageError: *max_cycles* were not enough, or *frames* is below 1.
    """
    if frames < 1:
        raise UsageError(f"{frames} frames cannot be simulated", fix="--frames 1 or more")
    if max_cycles is None:
        max_cycles = MOST_UNIT_CYCLES // len(machine.units)
    found = _run(machine, frames, max_cycles, rows=0, bucket_cycles=1)
    if not trace_rows:
        return found
    bucket_cycles = -(-found.cycles // trace_rows)
    rows = -(-found.cycles // bucket_cycles)
    return _run(machine, frames, max_cycles, rows=rows, bucket_cycles=bucket_cycles)


def _run(machine: Machine, frames: int, max_cycles: int, *, rows: int, bucket_cycles: int) -> Simulation:
    kernel = _kernel()
    arrays = _arrays(machine, frames, rows, bucket_cycles)
    units = len(machine.units)
    ended, cycles = kernel.RUNNING, 0
    while ended == kernel.RUNNING and cycles < max_cycles:
        until = min(max_cycles, cycles + UNIT_CYCLES_AT_ONCE // units)
        ended, cycles = kernel.run_cycles(arrays, cycles, until)
    if ended == kernel.DEADLOCK:
        raise _deadlock(machine, arrays.fifos["words"], arrays.finished, cycles)
    if ended == kernel.RUNNING:
        raise UsageError(
            f"{machine.name} gave {int((arrays.finished >= 0).sum())} of {frames} frames in {cycles:,} cycles",
            fix="simulate fewer frames",
        )
    trace = RunTrace(bucket_cycles, arrays.trace_units, arrays.trace_fifos) if rows else None
    high_water = arrays.fifos["high"].copy()
    return Simulation(machine, arrays.finished, cycles, high_water, arrays.busy, trace)


def _silent(steps: npt.NDArray[np.uint8], lengths: Sequence[int]) -> Counts:
    """For each step of loops of *lengths* steps, how many from it on neither read nor write.

    A loop's last step, behind which a round ends, does not count.
    """
    places = np.arange(len(steps))
    loud = np.where(steps != 0, places, len(steps))
    last = np.cumsum(lengths, dtype=np.int64) - 1
    loud[last] = last
    return np.minimum.accumulate(loud[::-1])[::-1] - places


def _kernel() -> ModuleType:
    """The compiled loop, imported when it is first used."""
    from labd_host.simulate import simulator_kernel

    return simulator_kernel


def _arrays(machine: Machine, frames: int, rows: int, bucket_cycles: int) -> KernelArrays:
    """*machine* before its first cycle, as the kernel takes it."""
    kernel = _kernel()
    programs = [unit.program for unit in machine.units]
    loops = [each for each in programs if isinstance(each, Loop)]
    windows = [each for each in programs if isinstance(each, Window | WholeWindow | Replay)]
    units, fifos = _unit_rows(machine.units), _fifo_rows(machine)
    steps = _joined([each.steps for each in loops], np.uint8)
    found: KernelArrays = kernel.KernelArrays(
        units=units,
        fifos=fifos,
        needs=_joined([each.needs for each in windows]),
        keeps=_joined([each.needs if isinstance(each, WholeWindow) else each.keeps for each in windows]),
        steps=steps,
        silent=_silent(steps, [len(each.steps) for each in loops]),
        due=np.zeros((len(units), units["latency"].max() + 2), np.int64),
        finished=np.full(frames, -1, np.int64),
        busy=np.zeros((len(units), len(STATES)), np.int64),
        bucket_cycles=bucket_cycles,
        trace_units=np.zeros((rows, len(units), len(STATES)), np.int64),
        trace_fifos=np.zeros((rows, len(fifos)), np.int64),
    )
    return found


def _joined(parts: list[npt.NDArray[Any]], dtype: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _unit_rows(units: Sequence[PipelineUnit]) -> npt.NDArray[np.void]:
    """An array of the kernel's UnitRow, in the state before the first cycle."""
    kernel = _kernel()
    zeros = dict.fromkeys(kernel.UNIT.names, 0)
    rows, loop_steps, windows = [], 0, 0  # the places where the next loop and the next window begin
    for unit in units:
        program = unit.program
        row: dict[str, int] = {"newest": -1, "source": not unit.inputs, "sink": not unit.outputs}
        if isinstance(program, Loop):
            row.update(kind=kernel.LOOP, first=loop_steps, length=len(program.steps), rounds=program.rounds)
            row.update(latency=program.latency_cycles, drains=program.drains)
            loop_steps += len(program.steps)
        elif isinstance(program, Gear):
            row.update(kind=kernel.GEAR, takes=program.takes, gives=program.gives)
        else:
            row.update(first=windows, length=len(program.needs), reads=program.reads)
            if isinstance(program, WholeWindow):
                row.update(kind=kernel.WHOLE_WINDOW)
            else:
                replays = isinstance(program, Replay)
                row.update(kind=kernel.REPLAY if replays else kernel.WINDOW, buffer=program.buffer)
            windows += len(program.needs)
        rows.append(tuple((zeros | row).values()))
    return np.array(rows, kernel.UNIT)


def _fifo_rows(machine: Machine) -> npt.NDArray[np.void]:
    """An array of the kernel's FifoRow, all of them empty."""
    writers = {fifo: index for index, unit in enumerate(machine.units) for fifo in unit.outputs}
    readers = {fifo: index for index, unit in enumerate(machine.units) for fifo in unit.inputs}
    rows = [(writers[index], readers[index], each.depth, 0, 0) for index, each in enumerate(machine.fifos)]
    return np.array(rows, _kernel().FIFO)


def _deadlock(machine: Machine, count: Counts, finished: Counts, cycles: int) -> Deadlock:
    """Who waits for whom: from the unit that takes the frames backwards."""
    reasons = []
    for unit in machine.units:
        empty = [machine.fifos[each].name for each in unit.inputs if not count[each]]
        full = [
            f"{machine.fifos[each].name} (depth {machine.fifos[each].depth})"
            for each in unit.outputs
            if count[each] >= machine.fifos[each].depth
        ]
        waits = [f"{', '.join(full)} to have room"] * bool(full) + [f"a word in {', '.join(empty)}"] * bool(
            empty
        )
        if (full and unit.inputs) or (empty and len(unit.inputs) > 1):
            reasons.append(f"{unit.name} waits for {' and '.join(waits)}")
    if not reasons:
        reasons.append("no FIFO is full, the words that go in make no whole frame")
    done = int((finished >= 0).sum())
    return Deadlock(
        f"{machine.name} is dead after {cycles} cycles, {done} of {len(finished)} frames done: {'; '.join(reasons)}",
        fix="make the full FIFO deeper: labd simulate --size-fifos says how deep",
    )
