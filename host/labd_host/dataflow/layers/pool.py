"""The largest value of each window (FINN's Pool).

Source: finn-plus 1.6.1, custom_op/fpgadataflow/pool.py, transformation/fpgadataflow/set_folding.py (the window
of a pool is folded like the pool, other values give wrong results, not slow ones); finn-hlslib, Pool_batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from labd_host.dataflow.axes import NodeSettings
from labd_host.dataflow.layers.layer import ChannelwiseLayer, Layer
from labd_host.dataflow.layers.window import SlidingWindow
from labd_host.dataflow.programs import Loop, Pipelines, is_hls, reduction
from labd_host.dataflow.resources import CostUnit, Resources


@dataclass(frozen=True)
class MaxPool(ChannelwiseLayer):
    """The largest value of each channel in each window (FINN's Pool, which a SlidingWindow feeds).

    Attributes:
        name: FINN's node name.
        channels: Of the feature map.
        vectors: Windows per frame.
        kernel: Values of a channel in a window.
        pe: Channels a cycle.
        input, output: Datatype names, the same.
    """

    op: ClassVar[str] = "Pool"
    # A StreamingMaxPool is a pool with its own window, and knows no folding.
    finn_names: ClassVar[tuple[str, ...]] = (
        "Pool",
        "Pool_Batch",
        "StreamingMaxPool",
        "StreamingMaxPool_Batch",
    )
    role: ClassVar[str] = "pool"
    sentence: ClassVar[str] = "the largest value of each window"
    phrase: ClassVar[str] = "the pool"

    name: str
    channels: int
    vectors: int
    kernel: int
    pe: int
    input: str
    output: str

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.vectors * self.kernel * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.vectors * self.channels

    def led_by(self, before: Layer) -> MaxPool | None:
        """Behind a window it takes the channels in the groups that the window gives."""
        return replace(self, pe=before.simd) if isinstance(before, SlidingWindow) else None

    def faults_behind(self, before: Layer) -> list[str]:
        """Other groups than the window's."""
        if not isinstance(before, SlidingWindow) or self.pe == before.simd:
            return []
        return [
            f"SIMD {before.simd} of {before.name} and PE {self.pe} of {self.name} must be equal: "
            f"a pool takes the channels in the groups its window gives"
        ]

    @property
    def cycles(self) -> int:
        """A word in a cycle."""
        return self.channels * self.kernel // self.pe * self.vectors

    def hls_latency(self, pipelines: Pipelines) -> int:
        """Its own depth of the pipeline."""
        return pipelines.pool

    def make_program(self, pipelines: Pipelines) -> Loop:
        """A channel group of a window in, its largest values out."""
        rounds = self.vectors * self.channels // self.pe
        return Loop(reduction(self.kernel), rounds, self.latency(pipelines), is_hls(self.name))

    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """It grows with its stream; FINN estimates nothing."""
        return CostUnit(
            self.name, "pool", {"one": 1, "bits": self.entry_bits}, Resources(), self.finn_estimate(settings)
        )

    def faults(self) -> Iterator[str]:
        """It only chooses among values."""
        if self.input != self.output:
            yield f"{self.name} turns {self.input} into {self.output}"
