"""A product of each channel's windows with weights of its own (FINN's VVAU: vector-vector-activation unit).

It is what a depthwise convolution becomes: no channel meets another.

Source: finn-plus 1.6.1, custom_op/fpgadataflow/vectorvectoractivation.py (shapes, get_exp_cycles, the memory
estimates) and hls/vectorvectoractivation_hls.py (LUTs, DSPs, which datatypes its C++ takes),
transformation/fpgadataflow/set_folding.py (its PE is the SIMD of the window in front of it, and SIMD above 1
asks for whole windows); finn-hlslib, Vector_Vector_Activate_Stream_Batch of vvau.hpp: a loop of one step a
word, which reads in every step (an MVAU reads a vector once and replays it) and writes after the last word of
a window. finn-rtllib's unit needs a Versal part, so SpecializeLayers takes the C++ for a PYNQ-Z2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from labd_host.dataflow.axes import Attribute, Axis, NodeSettings, divisors
from labd_host.dataflow.layers.layer import (
    Array,
    Layer,
    ProofPoint,
    StoredForm,
    accumulator_bits,
    check_weights,
    first_within,
    levels_of,
    store_thresholds,
    thresholds_form,
    weights_type,
)
from labd_host.dataflow.layers.window import SlidingWindow
from labd_host.dataflow.programs import Loop, Pipelines, is_hls, reduction
from labd_host.dataflow.resources import MEMORIES, NARROW_BITS, CostUnit, Resources
from labd_shared.datatypes import parse_datatype

LUT_WORDS = 128  # of a weight memory that FINN takes for LUTs where nothing says otherwise


@dataclass(frozen=True)
class Vvau(Layer):
    """The sums of each channel's windows, followed by thresholds or not (FINN's VVAU).

    Attributes:
        name: FINN's node name.
        channels: Of the feature map before and after.
        kernel: Values of a channel in a window.
        vectors: Windows per frame.
        pe, simd: Channels, and values of each one's window, a cycle.
        steps: Thresholds per channel; 0 where the sums themselves come out.
        input, weight, output: Datatype names.
        offset: Added to the count of thresholds (FINN's ActVal).

    Arrays ``weights``: (kernel, channels); ``thresholds``, where steps > 0: (1 or channels, steps).
    """

    op: ClassVar[str] = "VVAU"
    finn_names: ClassVar[tuple[str, ...]] = ("VVAU", "VectorVectorActivation", "Vector_Vector_Activate_Batch")
    role: ClassVar[str] = "product"
    sentence: ClassVar[str] = (
        "depthwise product, sums, thresholds: each channel with weights of its own; PE channels and SIMD places "
        "of a window in a cycle"
    )
    phrase: ClassVar[str] = "the depthwise product"
    least: ClassVar[Mapping[str, int]] = {"steps": 0}

    name: str
    channels: int
    kernel: int
    vectors: int
    pe: int
    simd: int
    steps: int
    input: str
    weight: str
    output: str
    offset: int

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.vectors * self.kernel * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.vectors * self.channels

    @property
    def words(self) -> tuple[int, int]:
        """Values in a word in, in a word out."""
        return self.simd * self.pe, self.pe

    # -- folding

    @property
    def axes(self) -> tuple[Axis, ...]:
        """PE divides the channels, SIMD the places of a window."""
        return Axis("PE", self.channels, "channels"), Axis("SIMD", self.kernel, "places of a window")

    @property
    def own_settings(self) -> tuple[str, ...]:
        """Memory and multipliers of its weights."""
        return "ram_style", "mem_mode", "runtime_writeable_weights", "resType"

    def folding_faults(self) -> list[str]:
        """A stream that is too wide, of weights as well."""
        channels, _ = self.axes
        width = self.simd * parse_datatype(self.input).bits
        return [
            *channels.too_wide(self.name, "input", self.pe, width),
            *channels.too_wide(self.name, "output", self.pe, parse_datatype(self.output).bits),
            *channels.too_wide(self.name, "weight", self.pe, self.simd * parse_datatype(self.weight).bits),
        ]

    def led_by(self, before: Layer) -> Vvau | None:
        """Behind a window it takes the channels in the groups that the window gives."""
        return replace(self, pe=before.simd) if isinstance(before, SlidingWindow) else None

    def faults_behind(self, before: Layer) -> list[str]:
        """Other groups than the window's."""
        if not isinstance(before, SlidingWindow) or self.pe == before.simd:
            return []
        return [
            f"SIMD {before.simd} of {before.name} and PE {self.pe} of {self.name} must be equal: "
            f"a depthwise product takes the channels in the groups its window gives"
        ]

    def foldings_behind(self, before: Layer) -> Iterator[Vvau]:
        """One place a cycle, as the window gives them; of whole windows any part."""
        led = self.led_by(before)
        if led is not None:
            whole = before.words[1] > led.pe
            for simd in divisors(self.kernel) if whole else (1,):
                layer = replace(led, simd=simd)
                if not layer.folding_faults():
                    yield layer

    def setting_choices(self) -> Iterator[dict[str, Attribute]]:
        """Weights in block RAM or LUTs; multipliers of DSPs, where a weight is more than a sign."""
        signs = parse_datatype(self.weight).bits == 1
        for memory in MEMORIES:
            for multiplier in ("lut",) if signs else ("lut", "dsp"):
                yield {**self.settings(), "ram_style": memory, "resType": multiplier}

    def set_folding(self, cycles: int) -> Vvau:
        """The narrowest PE that is fast enough; where none is, all channels and the narrowest SIMD."""
        narrow = [self.folded({"PE": pe, "SIMD": 1}) for pe in divisors(self.channels)]
        chosen = first_within(narrow, cycles)
        if chosen.cycles <= cycles:
            return chosen
        return first_within([replace(chosen, simd=simd) for simd in divisors(self.kernel)], cycles)

    # -- time

    @property
    def cycles(self) -> int:
        """A word in a cycle."""
        return self.channels * self.kernel // self.pe // self.simd * self.vectors

    def make_program(self, pipelines: Pipelines) -> Loop:
        """The words of a channel group's window in, its sums out with the last."""
        rounds = self.vectors * self.channels // self.pe
        return Loop(reduction(self.kernel // self.simd), rounds, self.latency(pipelines), is_hls(self.name))

    @property
    def products(self) -> int:
        """A multiplication a value that goes in."""
        return self.in_values

    @property
    def products_a_cycle(self) -> int:
        """A multiplication a lane."""
        return self.pe * self.simd

    # -- cost

    @property
    def weight_words(self) -> int:
        """Words of the weight memory: each is read once per window."""
        return self.kernel * self.channels // self.pe // self.simd

    @property
    def weight_bits(self) -> int:
        """Width of a word of the weight memory."""
        return self.pe * self.simd * parse_datatype(self.weight).bits

    def finn_estimate(self, settings: NodeSettings) -> Resources:
        """The weight memory, and FINN-R's formula for the rest."""
        words, width = self.weight_words, self.weight_bits
        style = settings.get("ram_style", "auto")
        mode = settings.get("mem_mode", "internal_decoupled")
        multiplies = settings.get("resType", "auto") == "dsp"
        operands = parse_datatype(self.weight).bits + parse_datatype(self.input).bits
        in_luts = (mode == "internal_decoupled" and style == "distributed") or (
            mode == "internal_embedded" and words <= LUT_WORDS
        )
        ultra = mode == "internal_decoupled" and style == "ultra"
        small = style == "auto" and words <= LUT_WORDS
        block = not in_luts and not ultra and not small and mode != "external"
        lut = self._luts(operands, multiplies) + (width * math.ceil(words / 64) if in_luts else 0)
        return Resources(
            lut=int(lut),
            bram18=_bram18(width, words) if block else 0,
            dsp=self.pe * math.ceil(operands / 48) if multiplies else 0,
            uram=math.ceil(width / 72) * math.ceil(words / 4096) if ultra else 0,
        )

    def _luts(self, operands: int, multiplies: bool) -> float:
        """Multipliers, an adder tree, an accumulator and comparators for each channel of a word."""
        simd = self.simd
        multipliers = 0 if multiplies else simd * (2 * math.ceil(operands / 6) - 1) * operands
        tree = operands * (2 * simd - 1)
        sums = accumulator_bits(self.kernel, self.input, self.weight)
        levels = 2 ** parse_datatype(self.output).bits - 1 if self.steps else 0
        thresholds = levels * sums * (self.channels // self.pe) / 64
        return 300 + 1.1 * (self.pe * (multipliers + tree + sums + thresholds + levels * sums))

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """FINN's LUTs without those of memories; a memory that Vivado makes of LUTs by itself counts as such.

        A DSP is one multiplication; FINN counts one a channel, however many places of a window it multiplies.

        No report of a build has one: it takes the coefficients of an MVAU, of which FINN's formula is the
        same, and their uncertainty.
        """
        finn = self.finn_estimate(settings)
        style = settings.get("ram_style", "auto")
        decoupled = settings.get("mem_mode", "internal_decoupled") == "internal_decoupled"
        embedded = settings.get("mem_mode") == "internal_embedded"
        counted = (decoupled and style == "distributed") or (embedded and self.weight_words <= LUT_WORDS)
        small = decoupled and style == "auto" and self.weight_words <= LUT_WORDS
        memory = self.weight_bits * math.ceil(self.weight_words / 64) if counted or small else 0
        dsp = self.products_a_cycle if finn.dsp else 0
        exact = Resources(lut=memory, bram18=finn.bram18, dsp=dsp, uram=finn.uram)
        kind = "wide mvau" if parse_datatype(self.input).bits > NARROW_BITS else "mvau"
        return CostUnit(self.name, kind, {"finn": finn.lut - (memory if counted else 0)}, exact, finn)

    # -- what network.npz holds

    @property
    def datatypes(self) -> tuple[str, ...]:
        """Of values and weights."""
        return self.input, self.output, self.weight

    def faults(self) -> Iterator[str]:
        """Bits that are numbers, which FINN's C++ does not multiply."""
        for what, datatype in (("takes", self.input), ("has weights of", self.weight)):
            if datatype == "BINARY":
                yield f"{self.name} {what} 0 and 1; of one bit, FINN's depthwise hardware multiplies -1 and 1"

    def array_forms(self) -> dict[str, StoredForm]:
        """Weights channel by channel in the least type that holds them, and thresholds."""
        forms: dict[str, StoredForm] = {"weights": (weights_type(self.weight), (self.channels, self.kernel))}
        if self.steps:
            forms["thresholds"] = thresholds_form(self.channels, self.steps)
        return forms

    def store(self, key: str, array: Array) -> Array:
        """*array* in its stored form."""
        if key != "weights":
            return store_thresholds(array, self.channels, self.steps)
        return np.ascontiguousarray(array.T.astype(weights_type(self.weight)))

    def restore(self, key: str, stored: Array) -> Array:
        """The array of a stored form.

        Raises:
            ValueError: a weight that its datatype does not have.
        """
        if key != "weights":
            return stored
        check_weights(self.name, stored, parse_datatype(self.weight))
        return stored.T

    # -- proof and words

    def points(self, values: Array, sums: Array) -> Iterator[ProofPoint]:
        """Its sums, and the levels where thresholds follow them."""
        yield "sums", sums
        if self.steps:
            yield "levels", levels_of(values, self.output, self.offset)

    def score_scale(self) -> tuple[float, float]:
        """What it gives are its sums."""
        return 1.0, 0.0

    def work(self, cycles: int) -> str:
        """Its part of a window."""
        return (
            f"multiplies {self.simd} of {self.kernel} places for {self.pe} of {self.channels} channels a cycle, "
            f"for {self.vectors:,} windows"
        )


def _bram18(width: int, words: int) -> int:
    """Block RAMs as FINN counts them for this unit: 8, 16 and 32 bits wide, where those of an MVAU are 9, 18, 36."""
    if width <= 2:
        return math.ceil(words / (16384 // width))
    if width <= 4:
        return math.ceil(words / 4096)
    if width <= 9:
        return math.ceil(words / 2048) * math.ceil(width / 8)
    if width <= 18 or words > 512:
        return math.ceil(words / 1024) * math.ceil(width / 16)
    return math.ceil(words / 512) * math.ceil(width / 32)
