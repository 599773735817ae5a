"""The simulator's inner loop, compiled by numba. Import it only to simulate: numba takes a second.

All units look at the FIFOs as they are when the cycle begins; what they do counts from the next one.
So their order does not matter, and a FIFO is a number: the words in it.

Where nothing is read or written, and units only compute or wait, the cycles that follow are the same until
the first of them is done: they are counted at once. A layer folded to one lane computes hundreds of cycles
for each word.
"""

from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt

from labd_host.machine.kernel_cache import keep_compiled

Numbers = npt.NDArray[np.int64]

LOOP, WINDOW, WHOLE_WINDOW, GEAR = 0, 1, 2, 3
READ, WRITE = 1, 2
IDLE, WORKING, STARVED, BLOCKED = 0, 1, 2, 3
DONE, DEADLOCK, RUNNING = 0, 1, 2

# Columns of a unit's fixed facts.
KIND, FIRST, LENGTH, ROUNDS, LATENCY, DRAINS, READS, BUFFER, LIMITED = range(9)
FACTS = 9
# Columns of a unit's state.
STEP, ROUND, WAIT, HELD, HEAD, NEWEST, WRITING, FETCHED, WRITTEN, FRAMES = range(10)
STATES = 10


@numba.njit  # type: ignore[untyped-decorator]  # numba has no types here
def run(
    facts: Numbers, needs: Numbers, keeps: Numbers, steps: npt.NDArray[np.uint8], silent: Numbers,
    in_first: Numbers, in_fifos: Numbers, out_first: Numbers, out_fifos: Numbers,
    depths: Numbers, frames: int, now: int, until: int, bucket_cycles: int,
    finished: Numbers, high: Numbers, states: Numbers, busy: Numbers,
    trace_units: Numbers, trace_fifos: Numbers, count: Numbers, due: Numbers,
) -> tuple[int, int]:  # fmt: skip
    """Run from cycle *now* until *frames* have left, or nothing can move, or cycle *until*; may be called again.

    Args:
        facts: (units, FACTS), see above; FIRST and LENGTH are a slice of steps, or of needs and keeps.
        needs, keeps: Of all windows, one after the other.
        steps: Of all loops, one after the other.
        silent: For each step, how many from it on neither read nor write, its loop's last not counted.
        in_first, in_fifos: The FIFOs unit u reads are in_fifos[in_first[u]:in_first[u + 1]]; out_*: writes.
        depths: Of the FIFOs.
        bucket_cycles: Cycles that one row of the traces sums up.
        finished: (frames,) is filled with the cycle in which the last word of each leaves.
        high: (fifos,) is filled with the most words each held.
        states: (units, STATES) what the units are doing: zeros, and NEWEST -1, before the first call.
        busy: (units, 4) is filled with the cycles each was IDLE, WORKING, STARVED, BLOCKED.
        trace_units: (rows, units, 4) the same over time; trace_fifos: (rows, fifos) the most words.
            With no rows nothing is traced.
        count: (fifos,) the words in each, zeros before the first call.
        due: (units, longest latency + 2) the words in the pipelines.

    Returns:
        (DONE, DEADLOCK or RUNNING, the cycle that comes next).
    """
    units = facts.shape[0]
    fifos = depths.shape[0]
    pushes = np.zeros(fifos, np.int64)
    did = np.zeros(units, np.int64)
    rows = trace_units.shape[0]
    slots = due.shape[1]
    while now < until:
        moved = False
        waiting = False  # something will happen by itself later
        left = 0
        quiet = True  # no word moved, and none is on its way into a pipeline
        for unit in range(units):
            kind = facts[unit, KIND]
            in_a, in_b = in_first[unit], in_first[unit + 1]
            out_a, out_b = out_first[unit], out_first[unit + 1]
            ready = True
            for index in range(out_a, out_b):
                if count[out_fifos[index]] >= depths[out_fifos[index]]:
                    ready = False
            valid = True
            for index in range(in_a, in_b):
                if count[in_fifos[index]] == 0:
                    valid = False
            read = False
            write = False
            doing = IDLE
            if kind == LOOP:
                latency = facts[unit, LATENCY]
                if states[unit, HELD] > 0:
                    if due[unit, states[unit, HEAD]] > now:
                        waiting = True
                    elif ready:
                        write = True
                        states[unit, HEAD] = (states[unit, HEAD] + 1) % slots
                        states[unit, HELD] -= 1
                        if states[unit, WAIT] < 0 and states[unit, HELD] == 0:
                            states[unit, WAIT] = now + 2
                    else:
                        doing = BLOCKED
                step = states[unit, STEP]
                if facts[unit, LIMITED] and states[unit, FRAMES] == frames:
                    pass
                elif states[unit, WAIT] < 0:
                    pass  # until the pipeline is empty
                elif states[unit, WAIT] > now:
                    waiting = True
                else:
                    what = steps[facts[unit, FIRST] + step]
                    if what & READ and not valid:
                        doing = STARVED
                    elif what & WRITE and (states[unit, HELD] > latency if latency > 0 else not ready):
                        doing = BLOCKED
                    else:
                        doing = WORKING
                        if what:
                            quiet = False
                        read = (what & READ) != 0
                        if what & WRITE:
                            if latency == 0:
                                write = True
                            else:
                                slot = (states[unit, HEAD] + states[unit, HELD]) % slots
                                due[unit, slot] = now + latency
                                states[unit, HELD] += 1
                        step += 1
                        if step == facts[unit, LENGTH]:
                            step = 0
                            states[unit, ROUND] += 1
                        if states[unit, ROUND] == facts[unit, ROUNDS]:
                            states[unit, ROUND] = 0
                            states[unit, FRAMES] += 1
                            if facts[unit, DRAINS]:
                                states[unit, WAIT] = -1
                            if out_a == out_b:
                                left = states[unit, FRAMES]
                                finished[left - 1] = now
                        states[unit, STEP] = step
            elif kind == WINDOW:
                first = facts[unit, FIRST]
                step = states[unit, STEP]
                newest = states[unit, NEWEST]
                writing = states[unit, WRITING] == 1
                fetched = states[unit, FETCHED] == 1
                written = states[unit, WRITTEN] == 1
                last_read = facts[unit, READS] - 1
                read_all = newest == last_read
                write = writing and ready
                fetch = not fetched and needs[first + step] <= newest and not (writing and not ready)
                oldest = newest - (facts[unit, BUFFER] - 1)
                wants = not read_all and (
                    fetched or (oldest < keeps[first + step] and oldest < needs[first + step])
                )
                read = wants and valid
                restart = False
                if read:
                    newest += 1
                    if newest == last_read and written:
                        restart = True
                if fetch:
                    step += 1
                    if step == facts[unit, LENGTH]:
                        step = 0
                        states[unit, FETCHED] = 1
                if fetch or write:
                    states[unit, WRITING] = 1 if fetch else 0
                if write and fetched:
                    if newest == last_read:
                        restart = True
                    else:
                        states[unit, WRITTEN] = 1
                if restart:
                    newest = -1
                    step = 0
                    states[unit, FETCHED] = 0
                    states[unit, WRITTEN] = 0
                states[unit, NEWEST] = newest
                states[unit, STEP] = step
                if read or fetch or write:
                    doing = WORKING
                elif writing:
                    doing = BLOCKED
                elif wants:
                    doing = STARVED
            elif kind == WHOLE_WINDOW:
                first = facts[unit, FIRST]
                step = states[unit, STEP]
                newest = states[unit, NEWEST]
                ended = states[unit, FETCHED] == 1
                given = states[unit, WRITTEN] == 1
                last_read = facts[unit, READS] - 1
                offers = not ended and needs[first + step] <= newest
                write = offers and not given and ready
                passes = offers and (ready or given)
                wants = newest != last_read and (ended or newest <= needs[first + step])
                read = wants and valid and not (offers and not passes)
                advance = read or (not wants and passes) or (not wants and not offers)
                restart = False
                if read:
                    newest += 1
                    if newest == last_read and ended:
                        restart = True
                if passes:
                    step += 1
                    if step == facts[unit, LENGTH]:
                        step = 0
                        states[unit, FETCHED] = 1
                        if newest == last_read:
                            restart = True
                states[unit, WRITTEN] = (
                    1 if passes and not advance else (0 if advance else states[unit, WRITTEN])
                )
                if restart:
                    newest = -1
                    step = 0
                    states[unit, FETCHED] = 0
                states[unit, NEWEST] = newest
                states[unit, STEP] = step
                if read or passes:
                    doing = WORKING
                elif offers:
                    doing = BLOCKED
                elif wants:
                    doing = STARVED
            else:
                held = states[unit, HELD]
                takes, gives = facts[unit, FIRST], facts[unit, LENGTH]
                write = held >= gives and ready
                read = held <= gives and valid
                if write:
                    states[unit, HELD] -= gives
                if read:
                    states[unit, HELD] += takes
                if read or write:
                    doing = WORKING
                elif held >= gives:
                    doing = BLOCKED
                else:
                    doing = STARVED
            if doing == WORKING or write:
                moved = True
                if write or kind != LOOP:
                    quiet = False
            did[unit] = doing
            if read:
                for index in range(in_a, in_b):
                    pushes[in_fifos[index]] -= 1
            if write:
                for index in range(out_a, out_b):
                    pushes[out_fifos[index]] += 1
            busy[unit, doing] += 1
            if rows:
                trace_units[now // bucket_cycles, unit, doing] += 1
        for fifo in range(fifos):
            if pushes[fifo]:
                count[fifo] += pushes[fifo]
                pushes[fifo] = 0
            high[fifo] = max(high[fifo], count[fifo])
            if rows:
                row = now // bucket_cycles
                trace_fifos[row, fifo] = max(trace_fifos[row, fifo], count[fifo])
        if quiet and (moved or waiting):
            same = until - now - 1  # cycles behind this one in which everybody does the same again
            if rows:
                same = min(same, bucket_cycles - 1 - now % bucket_cycles)
            for unit in range(units):
                if facts[unit, KIND] == LOOP:
                    if states[unit, HELD] > 0 and due[unit, states[unit, HEAD]] > now:
                        same = min(same, due[unit, states[unit, HEAD]] - now - 1)
                    if states[unit, WAIT] > now:
                        same = min(same, states[unit, WAIT] - now - 1)
                    if did[unit] == WORKING:
                        same = min(same, silent[facts[unit, FIRST] + states[unit, STEP]])
            for unit in range(units):
                busy[unit, did[unit]] += same
                if did[unit] == WORKING:
                    states[unit, STEP] += same
                if rows:
                    trace_units[now // bucket_cycles, unit, did[unit]] += same
            now += same
        now += 1
        if left == frames:
            return DONE, now
        if not moved and not waiting:
            return DEADLOCK, now
    return RUNNING, now


keep_compiled((run,), Path(__file__))
