"""How many clock cycles a frame takes, layer by layer, with the DMA counted.

FINN's own estimate leaves the DMA out, although on small networks it is what limits the rate: the
input DMA moves gcd(bits of a frame, 64) bits a cycle and no folding changes that.

Source: finn-plus 1.6.1, get_exp_cycles of each node (tests/host/test_cycles.py compares with
finn.analysis.fpgadataflow.exp_cycles_per_layer); the DMA's width: Xilinx/finn 39f0c9a,
transformation/fpgadataflow/insert_iodma.py:120-125, port width 64 on the PYNQ-Z2 (util/basic.py:55).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from labd_host.emulation.golden_layers import LabelSelect, Layer, Mvau
from labd_shared.tensors import Tensor

DMA_PORT_BITS = 64


@dataclass(frozen=True)
class NodeCycles:
    """Cycles one node is busy with one frame.

    Attributes:
        name: FINN's node name, or the DMA's.
        op: "Thresholding", "MVAU", "LabelSelect" or "IODMA".
        cycles: Clock cycles.
    """

    name: str
    op: str
    cycles: int


@dataclass(frozen=True)
class Estimate:
    """What the cycle model says of a network.

    Attributes:
        nodes: In the order of the stream, input DMA first, output DMA last.
        cycles_per_frame: The initiation interval: the slowest node's cycles.
        latency_cycles: An UPPER estimate of the first frame's time: the sum over all nodes, as if
            none started before the one in front of it was done. Real pipelines overlap.
        bottleneck: Name of the slowest node; of several, the first.
    """

    nodes: tuple[NodeCycles, ...]
    cycles_per_frame: int
    latency_cycles: int
    bottleneck: str

    def frames_per_s(self, clock_mhz: float) -> float:
        """The rate at *clock_mhz* once the pipeline is full."""
        return clock_mhz * 1e6 / self.cycles_per_frame


def layer_cycles(layer: Layer) -> int:
    """Cycles *layer* is busy with one frame, FINN's formula."""
    if isinstance(layer, Mvau):
        return (layer.mh // layer.pe) * (layer.mw // layer.simd) * layer.vectors
    if isinstance(layer, LabelSelect):
        return layer.labels // layer.pe
    return layer.vectors * (layer.channels // layer.pe)


def dma_cycles(tensor: Tensor) -> int:
    """Beats the DMA of *tensor* needs for one frame: one a cycle, gcd(bits of a frame, 64) bits wide.

    >>> from labd_shared.tensors import make_tensor
    >>> dma_cycles(make_tensor("in", "UINT8", (1, 784), (1, 16, 49), "NC", "idma0"))
    98
    """
    frame_bits = tensor.frame_bytes * 8
    return frame_bits // math.gcd(frame_bits, DMA_PORT_BITS)


def estimate(layers: Sequence[Layer], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Estimate:
    """The cycle model of a chain of *layers* between its DMAs."""
    nodes = (
        *(NodeCycles(tensor.dma, "IODMA", dma_cycles(tensor)) for tensor in inputs),
        *(NodeCycles(layer.name, layer.op, layer_cycles(layer)) for layer in layers),
        *(NodeCycles(tensor.dma, "IODMA", dma_cycles(tensor)) for tensor in outputs),
    )
    slowest = max(nodes, key=lambda node: node.cycles)
    return Estimate(nodes, slowest.cycles, sum(node.cycles for node in nodes), slowest.name)
