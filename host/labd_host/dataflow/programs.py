"""What a unit does from clock cycle to clock cycle: its step program. Each kind of layer makes its own.

A program is data. The simulator's kernel knows five ways to run one, the circuits FINN builds:

- `Loop`: steps in a fixed order, each of which may read a word, write a word, or both. What a step
  writes leaves the pipeline some cycles later. An HLS unit is a C function that handles one frame: it
  starts again only when its pipeline is empty.
- `Window`: FINN's RTL sliding window; it reads ahead into a cyclic buffer while it writes windows.
- `WholeWindow`: the same with parallel_window, a shift register that gives a whole window at once.
- `Replay`: an upsampling; it reads ahead into a ring buffer, past the end of a frame as well, and gives words
  of it several times.
- `Gear`: a width converter; values go in by one number and out by another.

The depth of an HLS pipeline is Vitis' choice: these are fitted to RTL simulations
(bench/bench_simulator.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

READ, WRITE = 1, 2

HLS_RESTART_CYCLES = 2  # from the last result to the first step of the next frame
RTL_REGISTER_CYCLES = 1


@dataclass(frozen=True)
class Pipelines:
    """From a step of an HLS unit to the word it writes, in cycles: what Vitis chose at 100 MHz.

    Attributes:
        mvau, label: Fitted to RTL simulations of public builds (`rtl_reports.fit`); mvau stands for all
            others, too.
        pool: Known of one design only.
    """

    mvau: int = 5
    label: int = 2
    pool: int = 6


HLS = Pipelines()
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Loop:
    """Steps of one frame.

    Attributes:
        steps: uint8, one per step: READ, WRITE, both or neither.
        rounds: How often they are done for one frame.
        latency_cycles: From a step to the word that it writes.
        drains: Whether the next frame waits until the pipeline is empty (HLS).
    """

    steps: npt.NDArray[np.uint8]
    rounds: int
    latency_cycles: int
    drains: bool = False


@dataclass(frozen=True, eq=False)
class Window:
    """FINN's sliding window over a cyclic buffer.

    Attributes:
        needs: For each word of a frame that is written: the input word that it is.
        keeps: For each of them: the oldest input word that the buffer must not lose while it is next.
        reads: Input words of a frame.
        buffer: Words of the buffer.
    """

    needs: Indices
    keeps: Indices
    reads: int
    buffer: int


@dataclass(frozen=True, eq=False)
class WholeWindow:
    """FINN's sliding window over a shift register.

    Attributes:
        needs: For each window of a frame: its last input word.
        reads: Input words of a frame.
    """

    needs: Indices
    reads: int


@dataclass(frozen=True, eq=False)
class Replay:
    """FINN's upsampling over a ring buffer, which knows no end of a frame.

    Attributes:
        needs: For each word of a frame that is written: the input word that it is.
        keeps: For each of them: the first input word that is not free while it is next.
        reads: Input words of a frame.
        buffer: Words of the buffer.
    """

    needs: Indices
    keeps: Indices
    reads: int
    buffer: int


@dataclass(frozen=True)
class Gear:
    """A width converter: *takes* values a word, *gives* values a word, in lowest terms."""

    takes: int
    gives: int


Program = Loop | Window | WholeWindow | Replay | Gear


def is_hls(name: str) -> bool:
    """Whether FINN builds the node called *name* with Vitis HLS."""
    return "_hls" in name


def passing(words: int) -> Loop:
    """*words* a frame through wires (FINN's Reshape is a passthru_axi)."""
    return Loop(each_step(READ | WRITE), words, 0)


def giving(words: int, cycles_per_word: int = 1) -> Loop:
    """A source of *words* a frame."""
    steps = np.zeros(cycles_per_word, np.uint8)
    steps[0] = WRITE
    return Loop(steps, words, 0)


def taking(words: int) -> Loop:
    """A sink of *words* a frame."""
    return Loop(each_step(READ), words, 0)


def each_step(what: int) -> npt.NDArray[np.uint8]:
    """The steps of a unit that does the same in every step."""
    return np.array([what], np.uint8)


def reduction(words: int) -> npt.NDArray[np.uint8]:
    """Many words in, one out."""
    steps = np.full(words, READ, np.uint8)
    steps[-1] |= WRITE
    return steps


def words_read(program: Program) -> int:
    """Words of one frame that *program* reads; of a converter 0, which knows no frames."""
    if isinstance(program, Loop):
        return int(np.count_nonzero(program.steps & READ)) * program.rounds
    return 0 if isinstance(program, Gear) else program.reads


def words_written(program: Program) -> int:
    """Words of one frame that *program* writes; of a converter 0, which knows no frames."""
    if isinstance(program, Loop):
        return int(np.count_nonzero(program.steps & WRITE)) * program.rounds
    return 0 if isinstance(program, Gear) else len(program.needs)
