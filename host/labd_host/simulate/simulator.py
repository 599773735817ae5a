"""Cycle-accurate simulation of a machine: latency, interval, FIFO high-water marks, stalls, deadlocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import ModuleType

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.cycles import CONVERTER
from labd_host.dataflow.programs import Gear, Loop, WholeWindow, Window
from labd_host.simulate.pipeline import Machine, Unit
from labd_shared.errors import BuildError, UsageError

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
class Trace:
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
    trace: Trace | None

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
    def bottleneck(self) -> Unit:
        """The unit that is busy most of the time, working or emptying its pipeline; of several, the first.

        A converter is none: it works as long as its slower neighbour does.
        """
        occupied = self.busy[:, WORKING].copy()
        for index, unit in enumerate(self.machine.units):
            if unit.inputs:  # a source is idle once it has given all frames
                occupied[index] += self.busy[index, IDLE]
            if unit.op == CONVERTER:
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
    packed = _pack(machine)
    units, fifos = len(machine.units), len(machine.fifos)
    finished, high = np.full(frames, -1, np.int64), np.zeros(fifos, np.int64)
    states = np.zeros((units, kernel.STATES), np.int64)
    states[:, kernel.NEWEST] = -1
    busy = np.zeros((units, len(STATES)), np.int64)
    trace = Trace(
        bucket_cycles, np.zeros((rows, units, len(STATES)), np.int64), np.zeros((rows, fifos), np.int64)
    )
    count = np.zeros(fifos, np.int64)
    longest = int(packed["facts"][:, kernel.LATENCY].max())
    due = np.zeros((units, longest + 2), np.int64)
    depths = np.array([fifo.depth for fifo in machine.fifos], np.int64)
    ended, cycles = kernel.RUNNING, 0
    while ended == kernel.RUNNING and cycles < max_cycles:
        until = min(max_cycles, cycles + UNIT_CYCLES_AT_ONCE // units)
        ended, cycles = kernel.run(
            *packed.values(), depths, frames, cycles, until, bucket_cycles,
            finished, high, states, busy, trace.units, trace.fifos, count, due,
        )  # fmt: skip
    if ended == kernel.DEADLOCK:
        raise _deadlock(machine, count, finished, cycles)
    if ended == kernel.RUNNING:
        raise UsageError(
            f"{machine.name} gave {int((finished >= 0).sum())} of {frames} frames in {cycles:,} cycles",
            fix="simulate fewer frames",
        )
    return Simulation(machine, finished, cycles, high, busy, trace if rows else None)


def _silent(steps: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """For each step, how many from it on neither read nor write; the last one, behind which a round ends, is none."""
    places = np.arange(len(steps))
    loud = np.where((steps != 0) | (places == len(steps) - 1), places, len(steps))
    return np.minimum.accumulate(loud[::-1])[::-1] - places


def _kernel() -> ModuleType:
    """The compiled loop, imported when it is first used."""
    from labd_host.simulate import simulator_kernel

    return simulator_kernel


def _pack(machine: Machine) -> Mapping[str, npt.NDArray[np.generic]]:
    """The arguments of the kernel that describe *machine*, in its order."""
    kernel = _kernel()
    facts = np.zeros((len(machine.units), kernel.FACTS), np.int64)
    needs: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    keeps: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    steps: list[npt.NDArray[np.uint8]] = [np.zeros(0, np.uint8)]
    silent: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for row, unit in zip(facts, machine.units, strict=True):
        program = unit.program
        if isinstance(program, Loop):
            row[kernel.KIND] = kernel.LOOP
            row[kernel.FIRST], row[kernel.LENGTH] = sum(map(len, steps)), len(program.steps)
            row[kernel.ROUNDS] = program.rounds
            row[kernel.LATENCY], row[kernel.DRAINS] = program.latency_cycles, program.drains
            row[kernel.LIMITED] = not unit.inputs
            steps.append(program.steps)
            silent.append(_silent(program.steps))
        elif isinstance(program, Gear):
            row[kernel.KIND] = kernel.GEAR
            row[kernel.FIRST], row[kernel.LENGTH] = program.takes, program.gives
        else:
            row[kernel.KIND] = kernel.WINDOW if isinstance(program, Window) else kernel.WHOLE_WINDOW
            row[kernel.FIRST], row[kernel.LENGTH] = sum(map(len, needs)), len(program.needs)
            row[kernel.READS] = program.reads
            needs.append(program.needs)
            if isinstance(program, WholeWindow):
                keeps.append(np.zeros_like(program.needs))
            else:
                row[kernel.BUFFER] = program.buffer
                keeps.append(program.keeps)
    return {
        "facts": facts,
        "needs": np.concatenate(needs),
        "keeps": np.concatenate(keeps),
        "steps": np.concatenate(steps),
        "silent": np.concatenate(silent),
        **_ports("in", [unit.inputs for unit in machine.units]),
        **_ports("out", [unit.outputs for unit in machine.units]),
    }


def _ports(name: str, ports: list[tuple[int, ...]]) -> dict[str, npt.NDArray[np.int64]]:
    first = np.array([0, *accumulate(map(len, ports))], np.int64)
    return {
        f"{name}_first": first,
        f"{name}_fifos": np.array([each for one in ports for each in one], np.int64),
    }


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
