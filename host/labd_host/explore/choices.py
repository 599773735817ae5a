"""The foldings a layer may have, each with its cycles, its cells and the streams it reads and writes.

A window and the pool it feeds are one stage, because their SIMD and PE must be equal. Memories are chosen
by name (block or distributed), never "auto", so that Vivado makes what was counted. Multipliers of DSPs
are offered where weights have more than one bit; a product with a sign needs none.

Two models of cost: "finn" is FINN's own estimate of the layers, which res_estimation gives on the folded
graph; "calibrated" is everything that stands on the FPGA, as `calibration` has it. What is equally cheap
for FINN, which counts a window of 2,304 bits a cycle like one of 1, is told apart by the calibrated LUTs.
"calibrated" also counts the cycles in which an HLS unit starts again, which FINN leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

from labd_host.dataflow.cycles import layer_cycles
from labd_host.dataflow.design import Design
from labd_host.dataflow.folding import MAX_SIMD_FOLD, MAX_STREAM_BITS, Attribute, divisors
from labd_host.dataflow.layers import LabelSelect, Layer, MaxPool, Mvau, Padding, SlidingWindow
from labd_host.dataflow.programs import restart_cycles
from labd_host.dataflow.resources import Resources, finn_estimate
from labd_host.explore.calibration import Calibration
from labd_host.explore.cost_units import (
    converter,
    entry_bits,
    exit_bits,
    fifo,
    input_dma,
    layer_unit,
    output_dma,
    shell,
)
from labd_shared.datatypes import parse_datatype

Options = Mapping[str, Attribute]
MEMORIES = ("block", "distributed")


@dataclass(frozen=True)
class Choice:
    """One folding of a stage.

    Attributes:
        settings: Node -> what to set (PE, SIMD, ram_style, ...).
        enters, leaves: Bits of the words that it reads and writes.
        cycles: Of its slowest layer, a frame.
        fill: Cycles of all its layers together.
        cost: Its cells.
        second: What decides between choices of equal LUTs.
    """

    settings: Mapping[str, Options]
    enters: int
    leaves: int
    cycles: int
    fill: int
    cost: Resources
    second: int


@dataclass(frozen=True)
class Costs:
    """A model of what things cost.

    Attributes:
        name: "finn" or "calibrated".
        layer: Of a folded layer with its settings.
        cycles: From the beginning of a frame to that of the next, by layer.
        fixed: Of shell and output, which no folding changes.
        entry: Of the input's DMA and FIFO, by the width of the first stream in bits.
        between: Of FIFOs and a converter, by the bits before and after.
        exit: Of the FIFO behind the last layer, by its bits.
        ties: The model whose LUTs decide between equals; None: this one's block RAMs do.
    """

    name: str
    layer: Callable[[Layer, Options], Resources]
    cycles: Callable[[Layer], int]
    fixed: Resources
    entry: Callable[[int], Resources]
    between: Callable[[int, int], Resources]
    exit: Callable[[int], Resources]
    ties: Costs | None = None

    def total(self, design: Design) -> Resources:
        """Of *design* as it is folded."""
        layers = design.layers
        spent = self.fixed + self.entry(entry_bits(layers[0])) + self.exit(exit_bits(layers[-1]))
        for layer in layers:
            spent += self.layer(layer, design.settings.get(layer.name, {}))
        for before, after in pairwise(layers):
            spent += self.between(exit_bits(before), entry_bits(after))
        return spent


def _free(*_: int) -> Resources:
    return Resources()


def finn_costs(calibration: Calibration) -> Costs:
    """FINN's own figures."""
    ties = calibrated_costs(calibration)
    return Costs("finn", finn_estimate, layer_cycles, Resources(), _free, _free, _free, ties)


def calibrated_costs(calibration: Calibration) -> Costs:
    """The cells that synthesis is expected to report."""
    cost = calibration.cost

    @cache
    def between(before: int, after: int) -> Resources:
        found = cost(fifo("", before))
        return (
            found if before == after else found + cost(converter("", before, after)) + cost(fifo("", after))
        )

    return Costs(
        "calibrated",
        lambda layer, settings: cost(layer_unit(layer, settings)),
        lambda layer: layer_cycles(layer) + restart_cycles(layer),
        cost(shell()) + cost(output_dma()),
        lambda bits: cost(input_dma(bits)) + cost(fifo("", bits)),
        between,
        lambda bits: cost(fifo("", bits)),
    )


def stages_of(design: Design) -> list[tuple[Layer, ...]]:
    """The layers, a window and its pool together."""
    stages: list[tuple[Layer, ...]] = []
    for layer in design.layers:
        if isinstance(layer, MaxPool) and stages and isinstance(stages[-1][-1], SlidingWindow):
            stages[-1] = (*stages[-1], layer)
        else:
            stages.append((layer,))
    return stages


def choices_of(stage: tuple[Layer, ...], costs: Costs, cycles: int | None = None) -> Iterator[Choice]:
    """Every legal folding of *stage*, of at most *cycles* cycles a frame where that is given."""
    for folded in _foldings(stage):
        taken = [costs.cycles(layer) for layer in folded]
        if cycles is None or max(taken) <= cycles:
            for settings in _settings(folded):
                spent = _together(folded, settings, costs)
                yield Choice(
                    settings,
                    entry_bits(folded[0]),
                    exit_bits(folded[-1]),
                    max(taken),
                    sum(taken),
                    spent,
                    int(_together(folded, settings, costs.ties).lut if costs.ties else spent.bram18),
                )


def _together(folded: tuple[Layer, ...], settings: Mapping[str, Options], costs: Costs) -> Resources:
    spent = Resources()
    for layer in folded:
        spent += costs.layer(layer, settings[layer.name])
    for before, after in pairwise(folded):
        spent += costs.between(exit_bits(before), entry_bits(after))
    return spent


def _foldings(stage: tuple[Layer, ...]) -> Iterator[tuple[Layer, ...]]:
    layer, *rest = stage
    if isinstance(layer, Mvau):
        yield from _mvau_foldings(layer)
    elif isinstance(layer, SlidingWindow):
        for simd in divisors(layer.channels):
            pools = tuple(replace(pool, pe=simd) for pool in rest if isinstance(pool, MaxPool))
            yield (replace(layer, simd=simd, parallel=False), *pools)
        pixel = layer.kernel_h == layer.kernel_w == 1
        if not layer.depthwise and not pixel:
            whole = replace(layer, simd=layer.channels, parallel=True)
            if exit_bits(whole) <= MAX_STREAM_BITS:
                yield (whole,)
    elif isinstance(layer, Padding):
        yield from ((replace(layer, simd=simd),) for simd in divisors(layer.channels))
    else:
        extent = layer.labels if isinstance(layer, LabelSelect) else layer.channels
        widest = max(parse_datatype(layer.input).bits, parse_datatype(layer.output).bits)
        for pe in divisors(extent):
            if pe * widest <= MAX_STREAM_BITS:
                yield (replace(layer, pe=pe),)


def _mvau_foldings(layer: Mvau) -> Iterator[tuple[Layer, ...]]:
    taken, given = parse_datatype(layer.input).bits, parse_datatype(layer.output).bits
    weight = parse_datatype(layer.weight).bits
    for simd in divisors(layer.mw):
        if layer.mw > simd * MAX_SIMD_FOLD or simd * taken > MAX_STREAM_BITS:
            continue
        for pe in divisors(layer.mh):
            if pe * given <= MAX_STREAM_BITS and pe * simd * weight <= MAX_STREAM_BITS:
                yield (replace(layer, pe=pe, simd=simd),)


def _settings(folded: tuple[Layer, ...]) -> Iterator[dict[str, Options]]:
    layer, *rest = folded
    pools = {pool.name: {"PE": pool.pe} for pool in rest if isinstance(pool, MaxPool)}
    if isinstance(layer, Mvau):
        signs = parse_datatype(layer.weight).bits == 1
        multipliers = ("lut",) if signs or "_rtl_" in layer.name else ("lut", "dsp")
        for memory in MEMORIES:
            for multiplier in multipliers:
                chosen: dict[str, Attribute] = {"PE": layer.pe, "SIMD": layer.simd, "ram_style": memory}
                if "_hls_" in layer.name:
                    chosen["resType"] = multiplier
                yield {layer.name: chosen}
    elif isinstance(layer, SlidingWindow):
        for memory in MEMORIES:
            chosen = {"SIMD": layer.simd, "ram_style": memory, "parallel_window": int(layer.parallel)}
            yield {layer.name: chosen, **pools}
    elif isinstance(layer, Padding):
        yield {layer.name: {"SIMD": layer.simd}}
    else:
        yield {layer.name: {"PE": layer.pe}}
