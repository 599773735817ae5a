"""Zeros around a feature map (FINN's FMPadding).

Source: finn-plus 1.6.1, custom_op/fpgadataflow/fmpadding.py; finn-rtllib, fmpadding.sv.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labd_host.dataflow.axes import Axis, NodeSettings
from labd_host.dataflow.layers.layer import Layer
from labd_host.dataflow.programs import READ, WRITE, Loop, Pipelines, is_hls
from labd_host.dataflow.resources import CostUnit, Resources


@dataclass(frozen=True)
class Padding(Layer):
    """Zeros around a feature map (FINN's FMPadding).

    Attributes:
        name: FINN's node name.
        channels, height, width: Of the feature map before.
        top, left, bottom, right: Rows and columns added.
        simd: Channels a cycle.
        input, output: Datatype names, the same.
    """

    op: ClassVar[str] = "FMPadding"
    finn_names: ClassVar[tuple[str, ...]] = ("FMPadding", "FMPadding_Batch")
    role: ClassVar[str] = "move"
    sentence: ClassVar[str] = "zeros around a feature map"
    phrase: ClassVar[str] = "the padding"
    least: ClassVar[Mapping[str, int]] = {"top": 0, "left": 0, "bottom": 0, "right": 0}

    name: str
    channels: int
    height: int
    width: int
    top: int
    left: int
    bottom: int
    right: int
    simd: int
    input: str
    output: str

    @property
    def out_height(self) -> int:
        """Rows after."""
        return self.top + self.height + self.bottom

    @property
    def out_width(self) -> int:
        """Columns after."""
        return self.left + self.width + self.right

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.height * self.width * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.out_height * self.out_width * self.channels

    @property
    def words(self) -> tuple[int, int]:
        """Values in a word in, in a word out."""
        return self.simd, self.simd

    @property
    def axes(self) -> tuple[Axis, ...]:
        """SIMD divides the channels."""
        return (Axis("SIMD", self.channels, "channels"),)

    @property
    def cycles(self) -> int:
        """A word of the grown map a cycle."""
        return (self.channels // self.simd) * self.out_height * self.out_width

    def make_program(self, pipelines: Pipelines) -> Loop:
        """A word out every cycle, and one in where the pixel is not padding."""
        steps = np.full((self.out_height, self.out_width, self.channels // self.simd), WRITE, np.uint8)
        steps[self.top : self.top + self.height, self.left : self.left + self.width] |= READ
        return Loop(steps.ravel(), 1, self.latency(pipelines), is_hls(self.name))

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """It grows with its stream; FINN estimates nothing."""
        return CostUnit(
            self.name,
            "padding",
            {"one": 1, "bits": self.entry_bits},
            Resources(),
            self.finn_estimate(settings),
        )

    def faults(self) -> Iterator[str]:
        """It only moves values."""
        if self.input != self.output:
            yield f"{self.name} turns {self.input} into {self.output}"
