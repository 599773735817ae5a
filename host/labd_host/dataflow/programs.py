"""What each kind of layer does from clock cycle to clock cycle: its step program.

A program is data. The simulator's kernel knows four ways to run one, the circuits FINN builds:

- `Loop`: steps in a fixed order, each of which may read a word, write a word, or both. What a step
  writes leaves the pipeline some cycles later. An HLS unit is a C function that handles one frame: it
  starts again only when its pipeline is empty.
- `Window`: FINN's RTL sliding window; it reads ahead into a cyclic buffer while it writes windows.
- `WholeWindow`: the same with parallel_window, a shift register that gives a whole window at once.
- `Gear`: a width converter; values go in by one number and out by another.

Sources: the loops are those of finn-hlslib's Matrix_Vector_Activate_Stream_Batch, Pool_batch and
LabelSelect_Batch; the others follow finn-plus 1.6.1, finn-rtllib: thresholding.sv (two registers a
comparison, two behind them), fmpadding.sv, swg_template_default.sv, swg_template_parallel.sv with
the constants of rtl/convolutioninputgenerator_rtl.py, and dwc/hdl/vpc.sv. The depth of an HLS
pipeline is Vitis' choice: these are fitted to RTL simulations (bench/bench_simulator.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import (
    LabelSelect,
    Layer,
    MaxPool,
    Mvau,
    Padding,
    SlidingWindow,
    Thresholding,
)

READ, WRITE = 1, 2

HLS_RESTART_CYCLES = 2  # from the last result to the first step of the next frame
RTL_REGISTER_CYCLES = 1
RTL_THRESHOLD_CYCLES = 2  # behind the comparisons: queue and output register


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

    def of(self, layer: Layer) -> int:
        """The depth of *layer*'s pipeline, if it is an HLS unit."""
        if isinstance(layer, LabelSelect):
            return self.label
        return self.pool if isinstance(layer, MaxPool) else self.mvau


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


@dataclass(frozen=True)
class Gear:
    """A width converter: *takes* values a word, *gives* values a word, in lowest terms."""

    takes: int
    gives: int


Program = Loop | Window | WholeWindow | Gear


def gear(takes: int, gives: int) -> Gear:
    """A converter between words of *takes* and of *gives* values (or bits)."""
    common = math.gcd(takes, gives)
    return Gear(takes // common, gives // common)


def gear_cycles(takes: int, gives: int, values: int) -> int:
    """Cycles in which a converter passes *values* on, where neither neighbour lets it wait.

    FINN's converter takes a word only while it holds no more than one word that it gives. So between widths
    of which neither is a multiple of the other it is slower than both its neighbours: 16 to 12 values take 6
    cycles for 3 words in and 4 out. It reads and writes in the same cycle once in each such round.

    Source: irdy and ovld of finn-plus 1.6.1, finn-rtllib/dwc/hdl/vpc.sv, whose comment promises the rate of
    the narrower side; run with Verilator it gives these numbers.
    """
    common = math.gcd(takes, gives)
    takes, gives, values = takes // common, gives // common, values // common
    return -(-values * (takes + gives - 1) // (takes * gives))


def is_hls(name: str) -> bool:
    """Whether FINN builds the node called *name* with Vitis HLS."""
    return "_hls" in name


@lru_cache(maxsize=256)
def program_of(layer: Layer, pipelines: Pipelines = HLS) -> Program:
    """The step program of *layer*; computed once for equal layers."""
    hls = is_hls(layer.name)
    if isinstance(layer, SlidingWindow):
        return _window(layer)
    latency = pipelines.of(layer) if hls else _rtl_cycles(layer)
    if isinstance(layer, Mvau):
        return Loop(_matrix_steps(layer), layer.vectors, latency, hls)
    if isinstance(layer, MaxPool):
        return Loop(_reduction(layer.kernel), layer.vectors * layer.channels // layer.pe, latency, hls)
    if isinstance(layer, LabelSelect):
        return Loop(_reduction(layer.labels // layer.pe), 1, latency, hls)
    if isinstance(layer, Padding):
        return Loop(_padding_steps(layer), 1, latency, hls)
    return Loop(_each(READ | WRITE), layer.vectors * layer.channels // layer.pe, latency, hls)


def passing(words: int) -> Loop:
    """*words* a frame through wires (FINN's Reshape is a passthru_axi)."""
    return Loop(_each(READ | WRITE), words, 0)


def giving(words: int, cycles_per_word: int = 1) -> Loop:
    """A source of *words* a frame."""
    steps = np.zeros(cycles_per_word, np.uint8)
    steps[0] = WRITE
    return Loop(steps, words, 0)


def taking(words: int) -> Loop:
    """A sink of *words* a frame."""
    return Loop(_each(READ), words, 0)


def _each(what: int) -> npt.NDArray[np.uint8]:
    return np.array([what], np.uint8)


def _reduction(words: int) -> npt.NDArray[np.uint8]:
    """Many words in, one out."""
    steps = np.full(words, READ, np.uint8)
    steps[-1] |= WRITE
    return steps


def restart_cycles(layer: Layer) -> int:
    """Cycles between two frames in which *layer* empties its pipeline, if it is an HLS unit; else 0."""
    return HLS.of(layer) + HLS_RESTART_CYCLES - 1 if is_hls(layer.name) else 0


def _matrix_steps(layer: Mvau) -> npt.NDArray[np.uint8]:
    """Column folds within row folds: a vector is read in the first row fold, a sum leaves at the end of each."""
    columns, rows = layer.mw // layer.simd, layer.mh // layer.pe
    steps = np.zeros((rows, columns), np.uint8)
    steps[0] |= READ
    steps[:, -1] |= WRITE
    return steps.ravel()


def _rtl_cycles(layer: Layer) -> int:
    """The latency of finn-rtllib's units.

    MVAU: replay buffer, multiplier, adder tree, accumulator and output queue of mvu_vvu_axi; measured with
    Verilator: MW 64, MH 16, PE 4, SIMD 8 gives its last sum 40 cycles after the first word.
    """
    if isinstance(layer, Mvau):
        return 5 + math.ceil(math.log2(layer.simd + 1))
    if isinstance(layer, Thresholding):
        return 2 * layer.steps.bit_length() + RTL_THRESHOLD_CYCLES
    return RTL_REGISTER_CYCLES


def _padding_steps(layer: Padding) -> npt.NDArray[np.uint8]:
    steps = np.full((layer.out_height, layer.out_width, layer.channels // layer.simd), WRITE, np.uint8)
    steps[layer.top : layer.top + layer.height, layer.left : layer.left + layer.width] |= READ
    return steps.ravel()


def _window(layer: SlidingWindow) -> Window | WholeWindow:
    groups = layer.channels // layer.simd
    reads = layer.height * layer.width * groups
    reach = (layer.kernel_h - 1) * layer.dilation_h * layer.width + (layer.kernel_w - 1) * layer.dilation_w
    corners = (
        np.arange(layer.out_height)[:, None] * layer.stride_h * layer.width
        + np.arange(layer.out_width) * layer.stride_w
    ).ravel()  # pixel at the top left of each window
    if layer.parallel or layer.kernel_h == layer.kernel_w == 1:
        return WholeWindow(((corners + reach)[:, None] * groups + np.arange(groups)).ravel(), reads)
    pixels = (
        np.arange(layer.kernel_h)[:, None] * layer.dilation_h * layer.width
        + np.arange(layer.kernel_w) * layer.dilation_w
    ).ravel()
    values = layer.kernel_h * layer.kernel_w
    if layer.depthwise:  # channel group by channel group; the first of a group's words is its corner
        starts = (corners[:, None] * groups + np.arange(groups)).ravel()
        needs = starts[:, None] + pixels * groups
    else:
        starts = corners * groups
        needs = starts[:, None] + (pixels[:, None] * groups + np.arange(groups)).ravel()
    smallest = (reach + 1) * groups
    keeps = np.empty_like(needs)
    keeps[:, 0] = starts
    keeps[:-1, 1:] = starts[1:, None]
    keeps[-1, 1:] = starts[-1] + smallest - 1
    room = smallest + groups * (
        max(0, layer.stride_w - 1 - values) + max(0, (layer.stride_h - 1) * layer.width - values)
    )
    return Window(needs.ravel(), keeps.ravel(), reads, room)


def words_of(layer: Layer) -> tuple[int, int]:
    """Values in one word of the stream that *layer* reads, and of the one that it writes."""
    if isinstance(layer, Mvau):
        return layer.simd, layer.pe
    if isinstance(layer, LabelSelect):
        return layer.pe, 1
    if isinstance(layer, SlidingWindow):
        window = layer.kernel_h * layer.kernel_w if layer.parallel else 1
        return layer.simd, layer.simd * window
    if isinstance(layer, Thresholding | MaxPool):
        return layer.pe, layer.pe
    return layer.simd, layer.simd


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
