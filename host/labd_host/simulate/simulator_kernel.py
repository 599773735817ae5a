"""The simulator's inner loop, compiled by numba. Import it only to simulate: numba takes a second.

All units look at the FIFOs as they are when the cycle begins; what they do counts from the next one.
So their order does not matter, and a FIFO is a number: the words in it. For each kind of unit a function
does one cycle of one unit. Units and FIFOs are rows of structured arrays: numba passes a row as a pointer,
and counts references to an array each time a function takes one.

Where nothing is read or written, and units only compute or wait, the cycles that follow are the same until
the first of them is done: they are counted at once. A layer folded to one lane computes hundreds of cycles
for each word.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from labd_host.machine.kernel_cache import keep_compiled

Numbers = npt.NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., object])

LOOP, WINDOW, WHOLE_WINDOW, GEAR, REPLAY = 0, 1, 2, 3, 4
IDLE, WORKING, STARVED, BLOCKED = 0, 1, 2, 3
DONE, DEADLOCK, RUNNING = 0, 1, 2

# What a unit does in a cycle, as bits. The first two are also those of a loop's step.
READ = 1
WRITE = 2
MOVE = 4  # a word moves, be it only inside the unit
WORK = 8
LATER = 16  # it will do something by itself
ENTER = 32  # a word goes into its pipeline
FRAME = 64  # a loop's last step of a frame


class UnitRow(Protocol):
    """A unit: what it is, and below where it stands, which is 0 but for *newest* before the first cycle."""

    kind: int
    first: int  # a loop's in steps, a window's and a replay's in needs and keeps
    length: int  # of these
    rounds: int  # of a loop's steps for a frame
    latency: int  # of a loop's pipeline, cycles
    drains: int  # 1: the pipeline is empty before the next frame begins
    reads: int  # words of a frame
    buffer: int  # words of a ring buffer
    takes: int  # a gear, for a word read
    gives: int  # a gear, for a word written
    source: int  # 1: it reads no FIFO
    sink: int  # 1: it writes no FIFO

    step: int
    round: int
    wait: int  # the cycle in which it goes on; -1 until its pipeline is empty
    held: int  # words in the pipeline, parts in a gear
    head: int  # of the pipeline, in its row of due
    newest: int  # input word of the frame, -1 before the first
    late: int  # words that a replay had read a cycle ago ...
    later: int  # ... and two
    writing: int  # 1: a window's or replay's word is at its output
    fetched: int  # 1: its last window of a frame is fetched
    written: int  # 1: ... and written; of a whole window: the window at its output was taken
    frames: int
    ready: int  # 1: no FIFO that it writes is full
    valid: int  # 1: no FIFO that it reads is empty
    acts: int  # bits, see above
    doing: int  # IDLE, WORKING, STARVED or BLOCKED


class FifoRow(Protocol):
    """A FIFO between two units."""

    writer: int
    reader: int
    depth: int
    words: int
    high: int  # the most words that it held


# The types of arrays of them.
UNIT, FIFO = (np.dtype([(name, np.int64) for name in row.__annotations__]) for row in (UnitRow, FifoRow))


class KernelArrays(NamedTuple):
    """A machine, where a run of it stands, and what was counted.

    Attributes:
        units: (units,) UNIT.
        fifos: (fifos,) FIFO.
        needs: Of all windows, one after the other.
        keeps: As needs.
        steps: Of all loops, one after the other.
        silent: For each step, how many from it on neither read nor write, its loop's last not counted.
        due: (units, longest latency + 2) the cycles in which the words in the pipelines come out.
        finished: (frames,) the cycle in which the last word of each leaves; -1 until then.
        busy: (units, 4) the cycles each was IDLE, WORKING, STARVED, BLOCKED.
        bucket_cycles: Cycles that one row of the traces sums up.
        trace_units: (rows, units, 4) busy over time. With no rows nothing is traced.
        trace_fifos: (rows, fifos) the most words in each.
    """

    units: Any
    fifos: Any
    needs: Numbers
    keeps: Numbers
    steps: npt.NDArray[np.uint8]
    silent: Numbers
    due: Numbers
    finished: Numbers
    busy: Numbers
    bucket_cycles: int
    trace_units: Numbers
    trace_fifos: Numbers


def _compiled(function: Function) -> Function:
    """*function* as numba compiles it; its types stay."""
    made: Function = numba.njit(function)
    return made


@_compiled
def _loop_cycle(unit: UnitRow, step: int, due: int, slots: int, frames: int, now: int) -> int:
    """One cycle of a loop: its pipeline gives a word, and it does *step*.

    Args:
        due: The cycle in which the next word leaves its pipeline, if it holds one.
        slots: Of the pipeline's row of due.
    """
    acts = 0
    unit.doing = IDLE
    if unit.held > 0:
        if due > now:
            acts |= LATER
        elif unit.ready:
            acts |= WRITE | MOVE
            unit.head = (unit.head + 1) % slots
            unit.held -= 1
            if unit.wait < 0 and unit.held == 0:
                unit.wait = now + 2
        else:
            unit.doing = BLOCKED
    if unit.source and unit.frames == frames:
        pass
    elif unit.wait < 0:
        pass  # until the pipeline is empty
    elif unit.wait > now:
        acts |= LATER
    elif step & READ and not unit.valid:
        unit.doing = STARVED
    elif step & WRITE and (unit.held > unit.latency if unit.latency > 0 else not unit.ready):
        unit.doing = BLOCKED
    else:
        unit.doing = WORKING
        acts |= WORK | (step & READ) | (MOVE if step else 0) | _next_step(unit)
        if step & WRITE and unit.latency == 0:
            acts |= WRITE
        elif step & WRITE:
            acts |= ENTER
            unit.held += 1
    return acts


@_compiled
def _next_step(unit: UnitRow) -> int:
    """Bring a loop to its next step; FRAME if this one was its frame's last."""
    acts = 0
    unit.step += 1
    if unit.step == unit.length:
        unit.step = 0
        unit.round += 1
        if unit.round == unit.rounds:
            unit.round = 0
            unit.frames += 1
            if unit.drains:
                unit.wait = -1
            acts = FRAME
    return acts


@_compiled
def _window_cycle(unit: UnitRow, needed: int, kept: int) -> int:
    """One cycle of a sliding window that gives its windows word by word, from a ring buffer.

    Args:
        needed, kept: Of the next word to fetch.
    """
    writing = unit.writing == 1
    fetched = unit.fetched == 1
    last_read = unit.reads - 1
    write = writing and unit.ready == 1
    fetch = not fetched and needed <= unit.newest and (write or not writing)
    oldest = unit.newest - (unit.buffer - 1)
    wants = unit.newest != last_read and (fetched or (oldest < kept and oldest < needed))
    read = wants and unit.valid == 1
    restart = False
    if read:
        unit.newest += 1
        restart = unit.newest == last_read and unit.written == 1
    if fetch:
        unit.step += 1
        if unit.step == unit.length:
            unit.step = 0
            unit.fetched = 1
    if fetch or write:
        unit.writing = 1 if fetch else 0
    if write and fetched:
        if unit.newest == last_read:
            restart = True
        else:
            unit.written = 1
    if restart:
        unit.newest = -1
        unit.step = 0
        unit.fetched = 0
        unit.written = 0
    acts = 0
    if read or fetch or write:
        unit.doing = WORKING
        acts = WORK | MOVE | (READ if read else 0) | (WRITE if write else 0)
    elif writing:
        unit.doing = BLOCKED
    else:
        unit.doing = STARVED if wants else IDLE
    return acts


@_compiled
def _whole_window_cycle(unit: UnitRow, needed: int) -> int:
    """One cycle of a sliding window that gives each window in one word.

    Args:
        needed: The last input word of the next window.
    """
    ended = unit.fetched == 1
    given = unit.written == 1
    last_read = unit.reads - 1
    offers = not ended and needed <= unit.newest
    write = offers and not given and unit.ready == 1
    passes = offers and (unit.ready == 1 or given)
    wants = unit.newest != last_read and (ended or unit.newest <= needed)
    read = wants and unit.valid == 1 and (passes or not offers)
    restart = False
    if read:
        unit.newest += 1
        restart = unit.newest == last_read and ended
    if passes:
        unit.step += 1
        if unit.step == unit.length:
            unit.step = 0
            unit.fetched = 1
            restart = restart or unit.newest == last_read
    if read or (not wants and (passes or not offers)):
        unit.written = 0
    elif passes:
        unit.written = 1
    if restart:
        unit.newest = -1
        unit.step = 0
        unit.fetched = 0
    acts = 0
    if read or passes:
        unit.doing = WORKING
        acts = WORK | MOVE | (READ if read else 0) | (WRITE if write else 0)
    elif offers:
        unit.doing = BLOCKED
    else:
        unit.doing = STARVED if wants else IDLE
    return acts


@_compiled
def _replay_cycle(unit: UnitRow, needed: int, kept: int) -> int:
    """One cycle of an upsampling: it reads ahead, and gives a word that its read pointer has seen.

    Args:
        needed: The input word that the next word to fetch is, counted from the frame's first.
        kept: The first that is not free.
    """
    seen, unit.later, unit.late = unit.later, unit.late, unit.newest + 1
    writing = unit.writing == 1
    write = writing and unit.ready == 1
    fetch = needed < seen and (write or not writing)
    wants = unit.newest + 1 - kept < unit.buffer
    read = wants and unit.valid == 1
    if read:
        unit.newest += 1
    if fetch:
        unit.step += 1
        if unit.step == unit.length:
            unit.step = 0
            unit.newest -= unit.reads
            unit.late -= unit.reads
            unit.later -= unit.reads
    if fetch or write:
        unit.writing = 1 if fetch else 0
    acts = 0
    if unit.later <= unit.newest:
        acts |= MOVE | LATER  # a word comes into sight by itself
    if read or fetch or write:
        unit.doing = WORKING
        acts |= WORK | MOVE | (READ if read else 0) | (WRITE if write else 0)
    elif writing:
        unit.doing = BLOCKED
    else:
        unit.doing = STARVED if wants else IDLE
    return acts


@_compiled
def _gear_cycle(unit: UnitRow) -> int:
    """One cycle of a width converter."""
    held = unit.held
    acts = 0
    if held >= unit.gives and unit.ready:
        unit.held -= unit.gives
        acts |= WORK | MOVE | WRITE
    if held <= unit.gives and unit.valid:
        unit.held += unit.takes
        acts |= WORK | MOVE | READ
    if acts:
        unit.doing = WORKING
    else:
        unit.doing = BLOCKED if held >= unit.gives else STARVED
    return acts


@_compiled
def _fifo_cycle(fifo: FifoRow, writer: UnitRow, reader: UnitRow) -> None:
    """What the two units of a FIFO did is in it, and they see it."""
    words = fifo.words
    if writer.acts & WRITE:
        words += 1
    if reader.acts & READ:
        words -= 1
    if words >= fifo.depth:
        writer.ready = 0
    if words == 0:
        reader.valid = 0
    fifo.words = words
    fifo.high = max(fifo.high, words)


@_compiled
def _same_cycles(units: Any, silent: Numbers, due: Numbers, now: int, most: int) -> int:
    """How many of the *most* cycles after *now*, in which no word moved, are as this one for all units."""
    same = most
    for index in range(len(units)):
        unit = units[index]
        if unit.kind == LOOP:
            if unit.held > 0 and due[index, unit.head] > now:
                same = min(same, due[index, unit.head] - now - 1)
            if unit.wait > now:
                same = min(same, unit.wait - now - 1)
            if unit.doing == WORKING:
                same = min(same, silent[unit.first + unit.step])
    return same


@_compiled
def _skip_steps(units: Any, cycles: int) -> None:
    """The loops that compute do so for *cycles*, all within a round."""
    for index in range(len(units)):
        if units[index].doing == WORKING:
            units[index].step += cycles


@_compiled
def _count(busy: Numbers, units: Any, cycles: int) -> None:
    """The units did for *cycles* what they did in this one."""
    for index in range(len(units)):
        busy[index, units[index].doing] += cycles


@_compiled
def _settle(units: Any, fifos: Any) -> None:
    """Bring all FIFOs to the end of a cycle."""
    for index in range(len(units)):
        units[index].ready = 1
        units[index].valid = 1
    for index in range(len(fifos)):
        fifo = fifos[index]
        _fifo_cycle(fifo, units[fifo.writer], units[fifo.reader])


@_compiled
def run_cycles(arrays: KernelArrays, now: int, until: int) -> tuple[int, int]:
    """Run from cycle *now* until all frames have left, or nothing can move, or cycle *until*.

    It changes *arrays*, and may be called again with them.

    Returns:
        (DONE, DEADLOCK or RUNNING, the cycle that comes next).
    """
    # Taken out of the tuple once: to do so in the loop counts references.
    (
        units, fifos, needs, keeps, steps, silent, due, finished, busy, bucket_cycles, trace_units, trace_fifos,
    ) = arrays  # fmt: skip
    frames, slots = len(finished), due.shape[1]
    traced = len(trace_units) > 0
    for index in range(len(units)):
        units[index].acts = 0
    _settle(units, fifos)
    while now < until:
        all_acts = 0
        for index in range(len(units)):
            unit = units[index]
            place = unit.first + unit.step
            if unit.kind == LOOP:
                acts = _loop_cycle(unit, steps[place], due[index, unit.head], slots, frames, now)
                if acts & ENTER:
                    due[index, (unit.head + unit.held - 1) % slots] = now + unit.latency
                if acts & FRAME and unit.sink:
                    finished[unit.frames - 1] = now
            elif unit.kind == WINDOW:
                acts = _window_cycle(unit, needs[place], keeps[place])
            elif unit.kind == WHOLE_WINDOW:
                acts = _whole_window_cycle(unit, needs[place])
            elif unit.kind == REPLAY:
                acts = _replay_cycle(unit, needs[place], keeps[place])
            else:
                acts = _gear_cycle(unit)
            unit.acts = acts
            all_acts |= acts
            busy[index, unit.doing] += 1
        _settle(units, fifos)
        if traced:
            row = now // bucket_cycles
            _count(trace_units[row], units, 1)
            for index in range(len(fifos)):
                trace_fifos[row, index] = max(trace_fifos[row, index], fifos[index].words)
        moved = all_acts & (WORK | WRITE) != 0
        waiting = all_acts & LATER != 0
        if all_acts & MOVE == 0 and (moved or waiting):
            most = until - now - 1
            if traced:
                most = min(most, bucket_cycles - 1 - now % bucket_cycles)
            same = _same_cycles(units, silent, due, now, most)
            _count(busy, units, same)
            if traced:
                _count(trace_units[now // bucket_cycles], units, same)
            _skip_steps(units, same)
            now += same
        now += 1
        if finished[frames - 1] >= 0:
            return DONE, now
        if not moved and not waiting:
            return DEADLOCK, now
    return RUNNING, now


keep_compiled((run_cycles,), Path(__file__))
