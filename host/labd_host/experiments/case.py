"""An experiment that has a result, together with what its layers are: what its explanation is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding
from labd_host.dataflow.layers import Layer, Mvau, WidthConverter
from labd_host.experiments.study_model import Experiment, LayerResult, Predicted, Result, Simulated

DMA = "IODMA"


@dataclass(frozen=True)
class Case:
    """An experiment that has a result, with what its layers are.

    Attributes:
        experiment: What was asked.
        result: What came of it.
        design: The network, in any folding.
    """

    experiment: Experiment
    result: Result
    design: FoldedChain

    @property
    def predicted(self) -> Predicted:
        """What the models say."""
        return self.result.predicted

    @property
    def simulated(self) -> Simulated | None:
        """What the simulator showed, None where it showed nothing."""
        found = self.result.simulated
        return None if found is None or found.fault else found

    @property
    def name(self) -> str:
        """In the study."""
        return self.experiment.name

    @property
    def clock_mhz(self) -> float:
        """Of the accelerator."""
        return self.experiment.clock_mhz

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Node -> layer, folded."""
        folding = Folding(self.name, self.experiment.settings, {})
        return {layer.name: layer for layer in self.design.folded(folding).layers}

    @cached_property
    def stages(self) -> list[LayerResult]:
        """All nodes but the width converters that are no slower than the stages they stand between."""
        longest = max(row.interval_cycles for row in self.result.layers if row.op != WidthConverter.op)
        return [
            row for row in self.result.layers if row.op != WidthConverter.op or row.interval_cycles > longest
        ]

    @cached_property
    def slowest(self) -> list[LayerResult]:
        """The stages that take the longest, the first in the stream first."""
        longest = max(row.interval_cycles for row in self.stages)
        return [row for row in self.stages if row.interval_cycles == longest]

    @cached_property
    def others(self) -> list[LayerResult]:
        """The other stages, the slowest first."""
        rest = [row for row in self.stages if row not in self.slowest]
        return sorted(rest, key=lambda row: -row.interval_cycles)

    def row(self, name: str) -> LayerResult | None:
        """The stage called *name*."""
        return next((row for row in self.stages if row.name == name), None)

    def called(self, row: LayerResult) -> str:
        """A stage as the lab speaks of it."""
        if row.op == DMA:
            return f"the {'input' if row is self.stages[0] else 'output'} DMA ({row.name})"
        if row.op == WidthConverter.op:
            return f"{WidthConverter.phrase} ({row.name})"
        return f"{self._kind(self.layers[row.name])} ({row.name})"

    def _kind(self, layer: Layer) -> str:
        matrices = [each.name for each in self.layers.values() if isinstance(each, Mvau)]
        if isinstance(layer, Mvau):
            return f"layer {matrices.index(layer.name) + 1}"
        names = list(self.layers)
        behind = [name for name in names[names.index(layer.name) :] if name in matrices]
        place = f" in front of layer {matrices.index(behind[0]) + 1}" if behind else ""
        return layer.phrase + place
