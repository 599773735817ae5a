"""The choice of the class (FINN's LabelSelect).

Source: finn-plus 1.6.1, custom_op/fpgadataflow/labelselect.py; finn-hlslib, LabelSelect_Batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from labd_host.dataflow.axes import Axis, NodeSettings
from labd_host.dataflow.layers.layer import Array, Layer, ProofPoint
from labd_host.dataflow.programs import Loop, Pipelines, is_hls, reduction
from labd_host.dataflow.resources import CostUnit, Resources
from labd_shared.datatypes import parse_datatype


@dataclass(frozen=True)
class LabelSelect(Layer):
    """The index of the largest score; equal scores go to the lower index.

    Attributes:
        name: FINN's node name.
        labels: Scores per frame.
        pe: Scores a cycle.
        input, output: Datatype names.
    """

    op: ClassVar[str] = "LabelSelect"
    finn_names: ClassVar[tuple[str, ...]] = ("LabelSelect", "LabelSelect_Batch")
    role: ClassVar[str] = "class"
    sentence: ClassVar[str] = "number of the largest score"
    phrase: ClassVar[str] = "the choice of the class"

    name: str
    labels: int
    pe: int
    input: str
    output: str

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.labels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return 1

    @property
    def words(self) -> tuple[int, int]:
        """Values in a word in, in a word out."""
        return self.pe, 1

    @property
    def axes(self) -> tuple[Axis, ...]:
        """PE divides the labels."""
        return (Axis("PE", self.labels, "labels"),)

    def folding_faults(self) -> list[str]:
        """An input stream that is too wide."""
        return self.axes[0].too_wide(self.name, "input", self.pe, parse_datatype(self.input).bits)

    def caution(self) -> str:
        """Its comparisons stand in a row."""
        return "above PE 1 it seldom closes timing" if self.pe > 1 else ""

    @property
    def cycles(self) -> int:
        """A word in a cycle."""
        return self.labels // self.pe

    def hls_latency(self, pipelines: Pipelines) -> int:
        """Its own depth of the pipeline."""
        return pipelines.label

    def make_program(self, pipelines: Pipelines) -> Loop:
        """All scores in, the label out."""
        return Loop(reduction(self.labels // self.pe), 1, self.latency(pipelines), is_hls(self.name))

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """It grows with the scores it compares in a cycle; FINN estimates nothing."""
        return CostUnit(
            self.name, "label", {"one": 1, "lanes": self.pe}, Resources(), self.finn_estimate(settings)
        )

    def points(self, values: Array, sums: Array) -> Iterator[ProofPoint]:
        """The label."""
        yield "label", values
