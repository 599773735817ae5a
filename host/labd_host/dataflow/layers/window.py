"""Sliding windows (FINN's ConvolutionInputGenerator).

Source: finn-plus 1.6.1, custom_op/fpgadataflow/rtl/convolutioninputgenerator_rtl.py (get_exp_cycles,
select_impl_style, the estimates); finn-rtllib, swg_template_default.sv and swg_template_parallel.sv.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from labd_host.dataflow.axes import MAX_STREAM_BITS, Attribute, Axis, NodeSettings, divisors
from labd_host.dataflow.layers.layer import Layer, first_within
from labd_host.dataflow.programs import Pipelines, WholeWindow, Window
from labd_host.dataflow.resources import MEMORIES, RAMB18_WORDS, CostUnit, Resources, memory_luts


def windows_along(pixels: int, kernel: int, stride: int, dilation: int) -> int:
    """How many windows lie side by side along *pixels* pixels; below 1 where none fits."""
    return (pixels - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class SlidingWindow(Layer):
    """The windows of a feature map, as a convolution or a pool takes them (FINN's ConvolutionInputGenerator).

    A vector of the output is one window: its values in the order (row, column, channel).

    Attributes:
        name: FINN's node name.
        channels, height, width: Of the feature map.
        kernel_h, kernel_w: Of the window.
        stride_h, stride_w: Between windows.
        dilation_h, dilation_w: Between the values of a window; 1 where they touch.
        depthwise: The stream runs channel group by channel group, as a pool needs it (on the FPGA
            only; the values are the same).
        parallel: A whole window leaves in one cycle (FINN's parallel_window).
        simd: Channels a cycle.
        input, output: Datatype names, the same.
    """

    op: ClassVar[str] = "ConvolutionInputGenerator"
    finn_names: ClassVar[tuple[str, ...]] = ("ConvolutionInputGenerator", "ConvolutionInputGenerator1D")
    role: ClassVar[str] = "move"
    sentence: ClassVar[str] = "sliding window, gives the rows that Im2Col gave"
    phrase: ClassVar[str] = "the sliding window"
    cycles_count_filling: ClassVar[bool] = True

    name: str
    channels: int
    height: int
    width: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    depthwise: bool
    parallel: bool
    simd: int
    input: str
    output: str

    @property
    def out_height(self) -> int:
        """Windows from top to bottom; below 1 where none fits."""
        return windows_along(self.height, self.kernel_h, self.stride_h, self.dilation_h)

    @property
    def out_width(self) -> int:
        """Windows from left to right; below 1 where none fits."""
        return windows_along(self.width, self.kernel_w, self.stride_w, self.dilation_w)

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.height * self.width * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.out_height * self.out_width * self.kernel_h * self.kernel_w * self.channels

    @property
    def words(self) -> tuple[int, int]:
        """Values in a word in, in a word out."""
        window = self.kernel_h * self.kernel_w if self.parallel else 1
        return self.simd, self.simd * window

    @property
    def _pixel(self) -> bool:
        """Whether a window is one pixel."""
        return self.kernel_h == self.kernel_w == 1

    @property
    def leaves_whole(self) -> bool:
        """A window a cycle: asked for, or no more than a pixel."""
        return self.parallel or self._pixel

    # -- folding

    @property
    def own_settings(self) -> tuple[str, ...]:
        """Whole windows at once, and the memory of its rows."""
        return ("parallel_window", "ram_style")

    @property
    def axes(self) -> tuple[Axis, ...]:
        """SIMD divides the channels."""
        return (Axis("SIMD", self.channels, "channels"),)

    def folded(self, settings: NodeSettings) -> SlidingWindow:
        """The same with the SIMD and parallel_window of *settings*, as far as it has them."""
        parallel = bool(settings.get("parallel_window", self.parallel))
        return replace(super().folded(settings), parallel=parallel)

    def settings(self) -> dict[str, Attribute]:
        """SIMD, and whether a window leaves whole."""
        return {"SIMD": self.simd, "parallel_window": int(self.parallel)}

    def folding_faults(self) -> list[str]:
        """A window that leaves whole needs all its channels, unless they do not mix."""
        if not self.parallel or self.depthwise or self._pixel or self.simd == self.channels:
            return []
        return [
            f"SIMD {self.simd} of {self.name} with parallel_window must be all its channels; "
            f"nearest legal: {self.channels}"
        ]

    def foldings(self) -> Iterator[SlidingWindow]:
        """Every SIMD, and a whole window where its word is not too wide: of all channels, or of any that do not mix."""
        yield from (replace(self, simd=simd, parallel=False) for simd in divisors(self.channels))
        for simd in divisors(self.channels) if self.depthwise else (self.channels,):
            whole = replace(self, simd=simd, parallel=True)
            if not self._pixel and whole.exit_bits <= MAX_STREAM_BITS:
                yield whole

    def setting_choices(self) -> Iterator[dict[str, Attribute]]:
        """Its line buffer in block RAM or LUTs."""
        for memory in MEMORIES:
            yield {"SIMD": self.simd, "ram_style": memory, "parallel_window": int(self.parallel)}

    def set_folding(self, cycles: int) -> SlidingWindow:
        """The narrowest SIMD that is fast enough, or whole windows."""
        narrow = [replace(self, simd=simd, parallel=False) for simd in divisors(self.channels)]
        chosen = first_within(narrow, cycles)
        return replace(chosen, parallel=True) if chosen.cycles > cycles else chosen

    # -- time

    @property
    def cycles(self) -> int:
        """FINN's formula for its RTL sliding window."""
        groups = self.channels // self.simd
        if self.leaves_whole:
            return self.height * self.width * groups + 2
        if self.height == 1 or self.width == 1:
            return self._row_cycles(groups)
        buffered = (
            (self.kernel_h - 1) * self.dilation_h * self.width + (self.kernel_w - 1) * self.dilation_w + 1
        ) * groups
        writing = self.out_width * self.kernel_w * self.kernel_h * groups
        reading = self.stride_w * self.width * groups
        each_row = max(writing, reading)
        if self.depthwise:
            each_row += self.out_width * (self.stride_w - 1) * (groups - 1)
        cycles = buffered + self.out_height * each_row
        if self.depthwise:
            cycles += (self.stride_h - 1) * self.width * groups
        return cycles

    def _row_cycles(self, groups: int) -> int:
        """The same for a map of one row or one column."""
        width, windows, kernel, stride = self.width, self.out_width, self.kernel_w, self.stride_w
        if self.width == 1:
            width, windows, kernel, stride = self.height, self.out_height, self.kernel_h, self.stride_h
        if not self.depthwise:
            return windows * kernel * groups + 2
        writing = windows * kernel * groups + (groups - 1) * kernel
        reading = width * groups + groups * (kernel - 1) * (stride - 1)
        return max(writing, reading) + 2

    def make_program(self, pipelines: Pipelines) -> Window | WholeWindow:
        """FINN's cyclic buffer, or its shift register where a window leaves whole."""
        groups = self.channels // self.simd
        reads = self.height * self.width * groups
        reach = (self.kernel_h - 1) * self.dilation_h * self.width + (self.kernel_w - 1) * self.dilation_w
        corners = (
            np.arange(self.out_height)[:, None] * self.stride_h * self.width
            + np.arange(self.out_width) * self.stride_w
        ).ravel()  # pixel at the top left of each window
        if self.leaves_whole:
            return WholeWindow(((corners + reach)[:, None] * groups + np.arange(groups)).ravel(), reads)
        pixels = (
            np.arange(self.kernel_h)[:, None] * self.dilation_h * self.width
            + np.arange(self.kernel_w) * self.dilation_w
        ).ravel()
        if self.depthwise:  # channel group by channel group; the first of a group's words is its corner
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
        return Window(needs.ravel(), keeps.ravel(), reads, smallest + groups * self._pixels_ahead)

    @property
    def _pixels_ahead(self) -> int:
        """Pixels that the buffer holds beyond a window, for strides longer than a window takes to leave."""
        values = self.kernel_h * self.kernel_w
        return max(0, self.stride_w - 1 - values) + max(0, (self.stride_h - 1) * self.width - values)

    # -- cost

    @property
    def buffer_words(self) -> int:
        """Words of the line buffer, SIMD channels each."""
        groups = self.channels // self.simd
        rows = (self.kernel_h - 1) * self.dilation_h * self.width
        columns = (self.kernel_w - 1) * self.dilation_w
        if self.leaves_whole:
            return (rows + columns) * groups + 2
        return (rows + columns + 1 + self._pixels_ahead) * groups

    @property
    def line_words(self) -> int:
        """Words of each line buffer where a window leaves whole: a row but for what the registers hold of it."""
        kernel_width = (self.kernel_w - 1) * self.dilation_w + 1
        return self.width - kernel_width + self.width * (self.dilation_h - 1)

    def finn_estimate(self, settings: NodeSettings) -> Resources:
        """Its line buffer, and 300 LUTs for the rest."""
        style = settings.get("ram_style", "distributed")
        width, words = self.entry_bits, self.buffer_words
        lut = 300 + (width * math.ceil(words / 38) if style == "distributed" else 0)
        buffers = 1
        if self.leaves_whole:
            words = self.line_words
            buffers = 0 if self.height == 1 or self.width == 1 else self.kernel_h - 1
        return Resources(
            lut=lut,
            bram18=buffers * _line_buffer(width, words) if style in ("block", "auto") else 0,
            uram=buffers * math.ceil(words / 4096) * math.ceil(width / 72) if style == "ultra" else 0,
        )

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """Its logic grows with the counters of a frame's words; a LUT memory's output is a register more."""
        finn = self.finn_estimate(settings)
        exact = finn.memories_and_dsps
        width, pixels = self.entry_bits, self.height * self.width
        in_luts = not exact.bram18 and not exact.uram
        drivers = {"one": 1, "counted": (pixels * (self.channels // self.simd) - 1).bit_length()}
        if not self.leaves_whole:
            lut = memory_luts(width, self.buffer_words) if in_luts else 0
            drivers["registered"] = width if in_luts else 0
            return CostUnit(self.name, "window", drivers, exact + Resources(lut=lut), finn)
        rows = self.kernel_h - 1 if min(self.height, self.width) > 1 else 0
        lut = rows * memory_luts(width, self.line_words) if in_luts and rows else 0
        drivers["registered"] = width * (self.kernel_h * self.kernel_w + (rows if in_luts else 0))
        return CostUnit(self.name, "whole window", drivers, exact + Resources(lut=lut), finn)

    # -- what network.npz holds, words

    def faults(self) -> Iterator[str]:
        """It only moves values, and at least one window fits."""
        if self.input != self.output:
            yield f"{self.name} turns {self.input} into {self.output}"
        if min(self.out_height, self.out_width) < 1:
            yield (
                f"the windows of {self.name}, {self.kernel_h} x {self.kernel_w}, do not fit its feature map of "
                f"{self.height} x {self.width}"
            )

    def work(self, cycles: int) -> str:
        """A window, or its part of one."""
        if self.parallel:
            return "takes in a pixel and gives a whole window a cycle"
        return (
            f"gives {self.simd} of {self.channels} channels of one place of its {self.kernel_h} x "
            f"{self.kernel_w} window a cycle, for {self.out_height * self.out_width:,} windows"
        )


def _line_buffer(width: int, words: int) -> int:
    """Block RAMs: as wide as the depth allows, the last of a cascade wider again."""
    if words <= 16384:
        return math.ceil(words / 16384) * math.ceil(width / _width_for(words))
    saved = width - math.ceil(width / _width_for(words % 16384))
    return math.ceil(words / 16384) * width - saved


def _width_for(words: int) -> int:
    return next((width for width, deepest in RAMB18_WORDS.items() if words <= deepest), 1)
