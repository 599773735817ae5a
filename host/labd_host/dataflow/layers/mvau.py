"""A matrix-vector product (FINN's MVAU: matrix-vector-activation unit).

Source: finn-plus 1.6.1, custom_op/fpgadataflow (matrixvectoractivation.py calc_wmem and the estimates,
hls/matrixvectoractivation_hls.py, rtl/matrixvectoractivation_rtl.py), which follow Blott et al., FINN-R
(2018); finn-hlslib, Matrix_Vector_Activate_Stream_Batch; finn-rtllib, mvu_vvu_axi.
Why the drivers of its cost: the weights of an XNOR MVAU go through PE * SIMD gates into adder trees, and
where it reads its input more than once, hls/mvau.hpp of finn-hlslib keeps the whole vector in registers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.axes import MAX_STREAM_BITS, Attribute, Axis, NodeSettings, divisors, listed
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
from labd_host.dataflow.programs import READ, WRITE, Loop, Pipelines, is_hls
from labd_host.dataflow.resources import MEMORIES, NARROW_BITS, CostUnit, Resources, bram18_of
from labd_shared.datatypes import parse_datatype

MAX_SIMD_FOLD = 1024  # HLS: columns per SIMD lane
SET_FOLDING_WEIGHT_BITS = 36  # of a row, up to which FINN's SetFolding widens SIMD


@dataclass(frozen=True)
class Mvau(Layer):
    """A matrix-vector product, followed by thresholds or not (FINN's MVAU).

    Attributes:
        name: FINN's node name.
        mw, mh: Columns (values per input vector) and rows (values per output vector).
        vectors: Vectors per frame.
        pe, simd: Rows and columns a cycle.
        steps: Thresholds per row; 0 where the accumulators themselves come out.
        xnor: Values and weights are bits that stand for -1 and +1, and the accumulator counts the
            columns where they agree (not a dot product: that would be ``2 * count - mw``).
        input, weight, output: Datatype names.
        offset: Added to the count of thresholds (FINN's ActVal).

    Arrays ``weights``: (mw, mh); ``thresholds``, where steps > 0: (1 or mh, steps).
    """

    op: ClassVar[str] = "MVAU"
    finn_names: ClassVar[tuple[str, ...]] = ("MVAU", "MatrixVectorActivation", "StreamingFCLayer_Batch")
    role: ClassVar[str] = "product"
    sentence: ClassVar[str] = "matrix product, sums, thresholds; PE rows and SIMD columns in a cycle"
    phrase: ClassVar[str] = "the matrix product"
    least: ClassVar[Mapping[str, int]] = {"steps": 0}

    name: str
    mw: int
    mh: int
    vectors: int
    pe: int
    simd: int
    steps: int
    xnor: bool
    input: str
    weight: str
    output: str
    offset: int

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.vectors * self.mw

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.vectors * self.mh

    @property
    def words(self) -> tuple[int, int]:
        """Values in a word in, in a word out."""
        return self.simd, self.pe

    # -- folding

    @property
    def own_settings(self) -> tuple[str, ...]:
        """Memories of weights and thresholds, and what multiplies."""
        return ("ram_style", "ram_style_thresholds", "resType", "mem_mode", "runtime_writeable_weights")

    @property
    def axes(self) -> tuple[Axis, ...]:
        """PE divides the rows, SIMD the columns."""
        return Axis("PE", self.mh, "rows"), Axis("SIMD", self.mw, "columns")

    def folding_faults(self) -> list[str]:
        """A stream that is too wide, of weights as well, or columns folded too often."""
        rows, columns = self.axes
        weight_bits = self.simd * parse_datatype(self.weight).bits
        faults = [
            *columns.too_wide(self.name, "input", self.simd, parse_datatype(self.input).bits),
            *rows.too_wide(self.name, "output", self.pe, parse_datatype(self.output).bits),
            *rows.too_wide(self.name, "weight", self.pe, weight_bits),
        ]
        if self.mw > self.simd * MAX_SIMD_FOLD:
            least = [each for each in divisors(self.mw) if each * MAX_SIMD_FOLD >= self.mw][:1]
            faults.append(
                f"SIMD {self.simd} of {self.name} folds its {self.mw} columns {self.mw // self.simd} times, "
                f"{MAX_SIMD_FOLD} is the most; nearest legal SIMD: {listed(least)}"
            )
        return faults

    def setting_choices(self) -> Iterator[dict[str, Attribute]]:
        """Weights in block RAM or LUTs; multipliers of DSPs, where a weight is more than a sign."""
        signs = parse_datatype(self.weight).bits == 1
        for memory in MEMORIES:
            for multiplier in ("lut",) if signs or "_rtl_" in self.name else ("lut", "dsp"):
                chosen = {**self.settings(), "ram_style": memory}
                if is_hls(self.name):
                    chosen["resType"] = multiplier
                yield chosen

    def set_folding(self, cycles: int) -> Mvau:
        """The narrowest SIMD that is fast enough, of few bits a row; then the narrowest PE."""
        bits = parse_datatype(self.weight).bits
        chosen = layer = self.folded({"PE": 1, "SIMD": 1})
        for simd in divisors(self.mw):
            wider = layer.folded({"SIMD": simd})
            if wider.cycles > cycles and simd * bits > SET_FOLDING_WEIGHT_BITS:
                break
            chosen = wider
            if wider.cycles <= cycles:
                break
        hls = self.name.startswith("MVAU_hls")
        rows = [chosen.folded({"PE": pe}) for pe in divisors(self.mh)]
        return first_within(
            [each for each in rows if not (hls and each.weight_bits > MAX_STREAM_BITS)], cycles
        )

    # -- time

    @property
    def cycles(self) -> int:
        """Row folds times column folds, for each vector."""
        return (self.mh // self.pe) * (self.mw // self.simd) * self.vectors

    @property
    def products(self) -> int:
        """A multiplication a weight and vector."""
        return self.mw * self.mh * self.vectors

    @property
    def products_a_cycle(self) -> int:
        """A multiplication a lane."""
        return self.pe * self.simd

    def rtl_latency(self) -> int:
        """Replay buffer, multiplier, adder tree, accumulator and output queue.

        Measured with Verilator: MW 64, MH 16, PE 4, SIMD 8 gives its last sum 40 cycles after the first word.
        """
        return 5 + math.ceil(math.log2(self.simd + 1))

    def make_program(self, pipelines: Pipelines) -> Loop:
        """A vector of the input after the other."""
        return Loop(self._steps(), self.vectors, self.latency(pipelines), is_hls(self.name))

    def _steps(self) -> npt.NDArray[np.uint8]:
        """Column folds within row folds: a vector is read in the first row fold, a sum leaves at the end of each."""
        columns, rows = self.mw // self.simd, self.mh // self.pe
        steps = np.zeros((rows, columns), np.uint8)
        steps[0] |= READ
        steps[:, -1] |= WRITE
        return steps.ravel()

    # -- cost

    @property
    def weight_words(self) -> int:
        """Words of the weight memory: each is read once per vector."""
        return self.mw * self.mh // (self.pe * self.simd)

    @property
    def weight_bits(self) -> int:
        """Width of a word of the weight memory."""
        return self.pe * self.simd * parse_datatype(self.weight).bits

    @property
    def _operand_bits(self) -> int:
        return parse_datatype(self.weight).bits + parse_datatype(self.input).bits

    def finn_estimate(self, settings: NodeSettings) -> Resources:
        """The weight memory, and FINN-R's formula for the rest."""
        words, width = self.weight_words, self.weight_bits
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
        if self.name.startswith("MVAU_rtl"):
            return Resources(dsp=math.ceil(self.pe / 4) * self.simd, **memories)
        multiplies = settings.get("resType", "lut") == "dsp"
        lut = self._luts(settings, multiplies) + (width * math.ceil(words / 64) if in_luts else 0)
        dsp = self.pe * self.simd * math.ceil(self._operand_bits / 48) if multiplies else 0
        return Resources(lut=int(lut), dsp=dsp, **memories)

    def _luts(self, settings: NodeSettings, multiplies: bool) -> float:
        """An adder tree, an accumulator and, where they are LUTs, multipliers per row."""
        both, simd = self._operand_bits, self.simd
        multipliers = 0 if multiplies else simd * (2 * math.ceil(both / 6) - 1) * both
        tree = both * (2 * simd - 1)
        sums = accumulator_bits(self.mw, self.input, self.weight)
        thresholds = 0
        if self.steps and settings.get("ram_style_thresholds") == "distributed":
            levels = 2 ** parse_datatype(self.output).bits - 1
            thresholds = levels * sums * (math.ceil(self.mh // self.pe / 64) + 1)
        return 300 + 1.1 * (self.pe * (multipliers + tree + sums + thresholds))

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """Gates and kept inputs of a product of bits; FINN's LUTs without those of memories for others."""
        finn = self.finn_estimate(settings)
        exact = finn.memories_and_dsps
        words, width = self.weight_words, self.weight_bits
        style = settings.get("ram_style", "auto")
        lut = 0
        if style == "auto" and words <= 2:  # Vivado takes no block RAM for two words
            exact = Resources(dsp=exact.dsp, uram=exact.uram)
        elif style == "distributed":
            lut = width * math.ceil(words / 64)  # read-only: a LUT is 64 words of a bit
        exact += Resources(lut=lut)
        if not self.xnor:
            kind = "wide mvau" if parse_datatype(self.input).bits > NARROW_BITS else "mvau"
            return CostUnit(self.name, kind, {"finn": finn.lut - lut}, exact, finn)
        repeats = self.mh > self.pe
        drivers = {"one": 1, "synapses": self.pe * self.simd, "kept": self.mw if repeats else 0}
        return CostUnit(self.name, "xnor", drivers, exact, finn)

    # -- what network.npz holds

    @property
    def datatypes(self) -> tuple[str, ...]:
        """Of values and weights."""
        return self.input, self.output, self.weight

    def faults(self) -> Iterator[str]:
        """Only bits can agree."""
        if self.xnor and (self.input, self.weight) != ("BINARY", "BINARY"):
            yield f"{self.name} counts agreeing bits, but takes {self.input} and holds {self.weight}"

    def array_forms(self) -> dict[str, StoredForm]:
        """Weights row by row: bits packed, others in the least type that holds them; and thresholds."""
        forms: dict[str, StoredForm]
        if self.weight == "BINARY":
            forms = {"weights": (np.dtype("u1"), (self.mh, (self.mw + 7) // 8))}
        else:
            forms = {"weights": (weights_type(self.weight), (self.mh, self.mw))}
        if self.steps:
            forms["thresholds"] = thresholds_form(self.mh, self.steps)
        return forms

    def store(self, key: str, array: Array) -> Array:
        """*array* in its stored form."""
        if key != "weights":
            return store_thresholds(array, self.mh, self.steps)
        if self.weight == "BINARY":
            return np.ascontiguousarray(np.packbits(array.T.astype(np.uint8), axis=1, bitorder="little"))
        return np.ascontiguousarray(array.T.astype(weights_type(self.weight)))

    def restore(self, key: str, stored: Array) -> Array:
        """The array of a stored form.

        Raises:
            ValueError: a weight that its datatype does not have.
        """
        if key != "weights":
            return stored
        if self.weight == "BINARY":
            bits = np.unpackbits(stored.astype(np.uint8), axis=1, count=self.mw, bitorder="little")
            return np.ascontiguousarray(bits.T.astype(np.int8))
        check_weights(self.name, stored, parse_datatype(self.weight))
        return stored.T

    # -- proof and words

    def points(self, values: Array, sums: Array) -> Iterator[ProofPoint]:
        """Its dot products, and the levels where thresholds follow them."""
        yield "sums", 2 * sums - self.mw if self.xnor else sums
        if self.steps:
            yield "levels", levels_of(values, self.output, self.offset)

    def score_scale(self) -> tuple[float, float]:
        """A count of agreeing bits is half of dot product plus columns."""
        return (0.5, self.mw / 2) if self.xnor else (1.0, 0.0)

    def work(self, cycles: int) -> str:
        """Its part of the matrix, and how long a vector takes."""
        lanes = self.pe * self.simd
        has = "one PE and one SIMD lane" if lanes == 1 else f"PE {self.pe} and SIMD {self.simd}"
        said = f"has {has}: it works on {lanes:,} of its {self.mh} x {self.mw} weights a cycle"
        if self.vectors > 1:
            said += f", {cycles // self.vectors:,} cycles for each of {self.vectors:,} places"
        return said
