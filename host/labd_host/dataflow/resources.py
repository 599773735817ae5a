"""What a layer costs on the FPGA by FINN's own formulas, in plain Python and without FINN.

FINN counts layers only: nothing for a MaxPool, a Padding, a LabelSelect, for FIFOs of two words, for
width converters it has not inserted yet, DMAs and the processor's side. `inventory` counts those, and
`calibration` says what Vivado makes of them.

Source: finn-plus 1.6.1, lut_estimation, bram_estimation, dsp_estimation and uram_estimation of
custom_op/fpgadataflow (matrixvectoractivation.py, hls/matrixvectoractivation_hls.py,
rtl/matrixvectoractivation_rtl.py, rtl/convolutioninputgenerator_rtl.py, rtl/thresholding_rtl.py,
util/memutil.py), which follow Blott et al., FINN-R (2018); tests/host/dataflow/test_resources.py
compares with finn.analysis.fpgadataflow.res_estimation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labd_host.dataflow.layers import Layer, Mvau, SlidingWindow, Thresholding
from labd_shared.datatypes import parse_datatype

if TYPE_CHECKING:
    from labd_host.dataflow.folding import Attribute  # labd_host.flow imports this module

Settings = Mapping[str, "Attribute"]

# A block RAM of 18 kbit: width it offers in bits -> words, as a simple dual-port memory.
RAMB18_WORDS = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}
# What FINN's thresholding takes for the memories there are, on every part: (width, words) by kind.
_THRESHOLD_MEMORIES = (
    ("uram", (72, 4096)),
    ("uram", (36, 8192)),
    ("uram", (18, 16384)),
    ("uram", (9, 32768)),
    ("bram18", (36, 512)),
    ("bram18", (18, 1024)),
    ("bram18", (9, 2048)),
    ("lut", (1, 64)),
)


@dataclass(frozen=True)
class Resources:
    """Cells of an FPGA.

    Attributes:
        lut, ff: Look-up tables and flip-flops.
        bram18: Block RAMs of 18 kbit; one of 36 kbit counts as two.
        dsp, uram: Multipliers and UltraRAMs.
    """

    lut: float = 0
    ff: float = 0
    bram18: float = 0
    dsp: float = 0
    uram: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.bram18 + other.bram18,
            self.dsp + other.dsp,
            self.uram + other.uram,
        )

    def __sub__(self, other: Resources) -> Resources:
        return self + Resources(-other.lut, -other.ff, -other.bram18, -other.dsp, -other.uram)


def finn_estimate(layer: Layer, settings: Settings) -> Resources:
    """FINN's own figures for *layer*; flip-flops are not among them.

    Args:
        layer: Folded; its name says HLS or RTL ("MVAU_hls_0").
        settings: What the folding sets beside PE and SIMD (ram_style, resType, mem_mode, ...).
    """
    if isinstance(layer, Mvau):
        return _mvau(layer, settings)
    if isinstance(layer, SlidingWindow):
        return _window(layer, settings)
    if isinstance(layer, Thresholding):
        return _thresholding(layer)
    return Resources()


def weight_words(layer: Mvau) -> int:
    """Words of the weight memory: each is read once per vector."""
    return layer.mw * layer.mh // (layer.pe * layer.simd)


def weight_bits(layer: Mvau) -> int:
    """Width of a word of the weight memory."""
    return layer.pe * layer.simd * parse_datatype(layer.weight).bits


def bram18_of(width: int, words: int) -> int:
    """Block RAMs of 18 kbit for a memory of *words* words, *width* bits each."""
    if width <= 2:
        return math.ceil(words / RAMB18_WORDS[width])
    if width <= 4:
        return math.ceil(words / 4096) * math.ceil(width / 4)
    if width <= 9:
        return math.ceil(words / 2048) * math.ceil(width / 9)
    if width <= 18 or words > 512:
        return math.ceil(words / 1024) * math.ceil(width / 18)
    return math.ceil(words / 512) * math.ceil(width / 36)


def _mvau(layer: Mvau, settings: Settings) -> Resources:
    words, width = weight_words(layer), weight_bits(layer)
    style = settings.get("ram_style", "auto")
    decoupled = settings.get("mem_mode", "internal_decoupled") == "internal_decoupled"
    embedded = settings.get("mem_mode") == "internal_embedded"
    in_luts = (decoupled and style == "distributed") or (embedded and words <= 128)
    outside = not decoupled and not embedded
    ultra = style == "ultra" if decoupled else embedded and words > 128
    block = not in_luts and not outside and not (decoupled and style == "ultra")
    memories = {
        "bram18": bram18_of(width, words) if block else 0,
        "uram": math.ceil(width / 72) * math.ceil(words / 4096) if ultra else 0,
    }
    if layer.name.startswith("MVAU_rtl"):
        return Resources(dsp=math.ceil(layer.pe / 4) * layer.simd, **memories)
    multiplies = settings.get("resType", "lut") == "dsp"
    lut = _mvau_luts(layer, settings, multiplies) + (width * math.ceil(words / 64) if in_luts else 0)
    dsp = layer.pe * layer.simd * math.ceil(_operand_bits(layer) / 48) if multiplies else 0
    return Resources(lut=int(lut), dsp=dsp, **memories)


def _operand_bits(layer: Mvau) -> int:
    return parse_datatype(layer.weight).bits + parse_datatype(layer.input).bits


def _mvau_luts(layer: Mvau, settings: Settings, multiplies: bool) -> float:
    """FINN-R's formula: an adder tree, an accumulator and, where they are LUTs, multipliers per row."""
    both, simd = _operand_bits(layer), layer.simd
    multipliers = 0 if multiplies else simd * (2 * math.ceil(both / 6) - 1) * both
    tree = both * (2 * simd - 1)
    sums = accumulator_bits(layer)
    thresholds = 0
    if layer.steps and settings.get("ram_style_thresholds") == "distributed":
        levels = 2 ** parse_datatype(layer.output).bits - 1
        thresholds = levels * sums * (math.ceil(layer.mh // layer.pe / 64) + 1)
    return 300 + 1.1 * (layer.pe * (multipliers + tree + sums + thresholds))


def accumulator_bits(layer: Mvau) -> int:
    """Bits that hold any sum of *layer*, of FINN's 32 at most."""
    inputs = parse_datatype(layer.input)
    signed = inputs.low < 0
    most = math.log2(layer.mw) + _operand_bits(layer) - 1 - signed
    return min(32, math.ceil(most + math.log2(1 + 2.0**-most) + 1))


def window_words(layer: SlidingWindow) -> int:
    """Words of the line buffer, SIMD channels each."""
    groups = layer.channels // layer.simd
    rows = (layer.kernel_h - 1) * layer.dilation_h * layer.width
    columns = (layer.kernel_w - 1) * layer.dilation_w
    if leaves_whole(layer):
        return (rows + columns) * groups + 2
    values = layer.kernel_h * layer.kernel_w
    ahead = max(0, layer.stride_w - 1 - values) + max(0, (layer.stride_h - 1) * layer.width - values)
    return (rows + columns + 1 + ahead) * groups


def window_bits(layer: SlidingWindow) -> int:
    """Width of a word of the line buffer."""
    return layer.simd * parse_datatype(layer.input).bits


def leaves_whole(layer: SlidingWindow) -> bool:
    """A window a cycle: asked for, or no more than a pixel."""
    return layer.parallel or layer.kernel_h == layer.kernel_w == 1


def line_words(layer: SlidingWindow) -> int:
    """Words of each line buffer where a window leaves whole: a row but for what the registers hold of it."""
    kernel_width = (layer.kernel_w - 1) * layer.dilation_w + 1
    return layer.width - kernel_width + layer.width * (layer.dilation_h - 1)


def _window(layer: SlidingWindow, settings: Settings) -> Resources:
    style = settings.get("ram_style", "distributed")
    width, words = window_bits(layer), window_words(layer)
    lut = 300 + (width * math.ceil(words / 38) if style == "distributed" else 0)
    buffers = 1
    if leaves_whole(layer):
        words = line_words(layer)
        buffers = 0 if layer.height == 1 or layer.width == 1 else layer.kernel_h - 1
    return Resources(
        lut=lut,
        bram18=buffers * _line_buffer(width, words) if style in ("block", "auto") else 0,
        uram=buffers * math.ceil(words / 4096) * math.ceil(width / 72) if style == "ultra" else 0,
    )


def _line_buffer(width: int, words: int) -> int:
    """Block RAMs: as wide as the depth allows, the last of a cascade wider again."""
    if words <= 16384:
        return math.ceil(words / 16384) * math.ceil(width / _width_for(words))
    saved = width - math.ceil(width / _width_for(words % 16384))
    return math.ceil(words / 16384) * width - saved


def _width_for(words: int) -> int:
    return next((width for width, deepest in RAMB18_WORDS.items() if words <= deepest), 1)


def threshold_bits(layer: Thresholding) -> int:
    """Bits of a threshold: one more than the values, since "never reached" must be among them."""
    return parse_datatype(layer.input).bits + 1


def _thresholding(layer: Thresholding) -> Resources:
    """The memories of a binary search, a level deeper each, every lane its own; no comparators."""
    used = {"lut": 0, "bram18": 0, "uram": 0}
    groups = layer.channels // layer.pe
    if layer.name.startswith("Thresholding_hls"):
        return Resources(lut=_streamed_thresholds(layer, groups))
    for level in range(parse_datatype(layer.output).bits):
        width, words = threshold_bits(layer), groups * 2**level
        counts = [
            (kind, math.ceil(width / wide) * math.ceil(words / deep), wide * deep)
            for kind, (wide, deep) in _THRESHOLD_MEMORIES
        ]
        kind, count, _ = min(counts, key=lambda each: each[1] * each[2])  # the least bits left over
        used[kind] += layer.pe * count
    return Resources(**used)


def _streamed_thresholds(layer: Thresholding, groups: int) -> int:
    memory = layer.pe * threshold_bits(layer) * layer.steps * math.ceil(groups / 64) if groups > 1 else 0
    return parse_datatype(layer.input).bits * layer.pe + memory
