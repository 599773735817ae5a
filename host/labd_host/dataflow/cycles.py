"""How many clock cycles a frame takes, layer by layer, with the DMA and the restarts counted.

FINN's own estimate leaves three things out. The DMA, although on small networks it is what limits the
rate: the input DMA moves gcd(bits of a frame, 64) bits a cycle and no folding changes that. The restart of
HLS units, which empty their pipeline before they begin the next frame: 14 cycles become 20. And the width
converters between layers, which are slower than both neighbours where neither width is a multiple of the other.

Source: finn-plus 1.6.1, get_exp_cycles of each node (tests/host/dataflow/test_cycles.py compares with
finn.analysis.fpgadataflow.exp_cycles_per_layer); the DMA: labd_shared.timing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from labd_host.dataflow.layers import Layer, WidthConverter
from labd_shared.rates import frames_per_s
from labd_shared.tensors import Tensor
from labd_shared.timing import dma_cycles as dma_cycles


@dataclass(frozen=True)
class NodeCycles:
    """Cycles one node is busy with one frame.

    Attributes:
        name: FINN's node name, or the DMA's.
        op: FINN's operation without its implementation ("MVAU", "Pool", ...), or "IODMA".
        cycles: Clock cycles; of a layer FINN's own number.
        restart_cycles: What an HLS unit needs on top before it begins the next frame.
    """

    name: str
    op: str
    cycles: int
    restart_cycles: int = 0

    @property
    def interval_cycles(self) -> int:
        """From the beginning of one frame to that of the next."""
        return self.cycles + self.restart_cycles


@dataclass(frozen=True)
class CycleEstimate:
    """What the cycle model says of a network.

    Attributes:
        nodes: In the order of the stream, input DMA first, output DMA last.
        cycles_per_frame: The initiation interval: the slowest node's.
        latency_cycles: An UPPER estimate of the first frame's time: the sum over all nodes, as if
            none started before the one in front of it was done. Real pipelines overlap: `labd simulate`
            knows how much. Converters pass words on as they come and are not in it.
        bottleneck: Name of the slowest node; of several, the first.
    """

    nodes: tuple[NodeCycles, ...]
    cycles_per_frame: int
    latency_cycles: int
    bottleneck: str

    def slowest(self, count: int) -> tuple[NodeCycles, ...]:
        """The *count* slowest nodes, the bottleneck first; of equally slow ones the first in the stream."""
        return tuple(sorted(self.nodes, key=lambda node: -node.interval_cycles)[:count])

    @property
    def slowest_layer(self) -> NodeCycles:
        """The slowest node that a folding can change, so of all but the DMAs; of several, the first."""
        return next(node for node in self.slowest(len(self.nodes)) if node.op != "IODMA")

    def frames_per_s(self, clock_mhz: float) -> float:
        """The rate at *clock_mhz* once the pipeline is full."""
        return frames_per_s(clock_mhz, self.cycles_per_frame)


def estimate(layers: Sequence[Layer], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> CycleEstimate:
    """The cycle model of a chain of *layers* between its DMAs."""
    nodes = (
        *(NodeCycles(tensor.dma, "IODMA", dma_cycles(tensor)) for tensor in inputs),
        *_layers_and_converters(layers),
        *(NodeCycles(tensor.dma, "IODMA", dma_cycles(tensor)) for tensor in outputs),
    )
    slowest = max(nodes, key=lambda node: node.interval_cycles)
    latency = sum(node.cycles for node in nodes if node.op != WidthConverter.op)
    return CycleEstimate(nodes, slowest.interval_cycles, latency, slowest.name)


def _layers_and_converters(layers: Sequence[Layer]) -> Iterator[NodeCycles]:
    converters = count()
    for before, layer in zip((None, *layers), layers, strict=False):
        if before is not None:
            converter = WidthConverter(before.words[1], layer.words[0])
            if converter.takes != converter.gives:
                cycles = converter.cycles(layer.in_values)
                yield NodeCycles(WidthConverter.name(next(converters)), WidthConverter.op, cycles)
        yield NodeCycles(layer.name, layer.op, layer.cycles, layer.restart_cycles)
