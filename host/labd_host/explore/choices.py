"""The foldings a layer may have, each with its cycles, its cells and the streams it reads and writes.

A window and the pool or depthwise product it feeds are one stage, because their SIMD and PE must be equal.
Each kind of layer knows its foldings and what may be set besides. Memories are chosen by name (block or
distributed), never "auto", so that Vivado makes what was counted. Multipliers of DSPs are offered where
weights have more than one bit; a product with a sign needs none.

Two models of cost: "finn" is FINN's own estimate of the layers, which res_estimation gives on the folded
graph; "calibrated" is everything that stands on the FPGA, as `calibration` has it. What is equally cheap
for FINN, which counts a window of 2,304 bits a cycle like one of 1, is told apart by the calibrated LUTs.
"calibrated" also counts the cycles in which an HLS unit starts again, which FINN leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

from labd_host.dataflow.axes import NodeSettings
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.layers import Layer, WidthConverter
from labd_host.dataflow.resources import Resources
from labd_host.explore.calibration import Calibration
from labd_host.explore.cost_units import fifo, input_dma, output_dma, shell


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

    settings: Mapping[str, NodeSettings]
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
    layer: Callable[[Layer, NodeSettings], Resources]
    cycles: Callable[[Layer], int]
    fixed: Resources
    entry: Callable[[int], Resources]
    between: Callable[[int, int], Resources]
    exit: Callable[[int], Resources]
    ties: Costs | None = None

    def total(self, design: FoldedChain) -> Resources:
        """Of *design* as it is folded."""
        layers = design.layers
        spent = self.fixed + self.entry(layers[0].entry_bits) + self.exit(layers[-1].exit_bits)
        for layer in layers:
            spent += self.layer(layer, design.settings.get(layer.name, {}))
        for before, after in pairwise(layers):
            spent += self.between(before.exit_bits, after.entry_bits)
        return spent


def _free(*_: int) -> Resources:
    return Resources()


def finn_costs(calibration: Calibration) -> Costs:
    """FINN's own figures."""
    ties = calibrated_costs(calibration)
    return Costs(
        "finn",
        lambda layer, settings: layer.finn_estimate(settings),
        lambda layer: layer.cycles,
        Resources(),
        _free,
        _free,
        _free,
        ties,
    )


def calibrated_costs(calibration: Calibration) -> Costs:
    """The cells that synthesis is expected to report."""
    cost = calibration.cost

    @cache
    def between(before: int, after: int) -> Resources:
        found = cost(fifo("", before))
        return (
            found
            if before == after
            else found + cost(WidthConverter(before, after).cost_unit("")) + cost(fifo("", after))
        )

    return Costs(
        "calibrated",
        lambda layer, settings: cost(layer.cost_unit(settings)),
        lambda layer: layer.cycles + layer.restart_cycles,
        cost(shell()) + cost(output_dma()),
        lambda bits: cost(input_dma(bits)) + cost(fifo("", bits)),
        between,
        lambda bits: cost(fifo("", bits)),
    )


def stages_of(design: FoldedChain) -> list[tuple[Layer, ...]]:
    """The layers, each together with those whose lanes it forces."""
    stages: list[tuple[Layer, ...]] = []
    for layer in design.layers:
        if stages and layer.led_by(stages[-1][-1]) is not None:
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
                    folded[0].entry_bits,
                    folded[-1].exit_bits,
                    max(taken),
                    sum(taken),
                    spent,
                    int(_together(folded, settings, costs.ties).lut if costs.ties else spent.bram18),
                )


def _together(folded: tuple[Layer, ...], settings: Mapping[str, NodeSettings], costs: Costs) -> Resources:
    spent = Resources()
    for layer in folded:
        spent += costs.layer(layer, settings[layer.name])
    for before, after in pairwise(folded):
        spent += costs.between(before.exit_bits, after.entry_bits)
    return spent


def _foldings(stage: tuple[Layer, ...]) -> Iterator[tuple[Layer, ...]]:
    first, *rest = stage
    found: Iterable[tuple[Layer, ...]] = ((folded,) for folded in first.foldings())
    for layer in rest:
        found = [(*chosen, led) for chosen in found for led in layer.foldings_behind(chosen[-1])]
    yield from found


def _settings(folded: tuple[Layer, ...]) -> Iterator[dict[str, NodeSettings]]:
    for choice in product(*(layer.setting_choices() for layer in folded)):
        yield {layer.name: chosen for layer, chosen in zip(folded, choice, strict=True)}
