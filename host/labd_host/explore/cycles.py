"""How many clock cycles a frame takes, layer by layer, with the DMA counted.

FINN's own estimate leaves the DMA out, although on small networks it is what limits the rate: the
input DMA moves gcd(bits of a frame, 64) bits a cycle and no folding changes that.

Source: finn-plus 1.6.1, get_exp_cycles of each node (tests/host/test_cycles.py compares with
finn.analysis.fpgadataflow.exp_cycles_per_layer); the DMA: labd_shared.timing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from labd_host.emulation.golden_layers import LabelSelect, Layer, MaxPool, Mvau, Padding, SlidingWindow
from labd_shared.tensors import Tensor
from labd_shared.timing import dma_cycles as dma_cycles


@dataclass(frozen=True)
class NodeCycles:
    """Cycles one node is busy with one frame.

    Attributes:
        name: FINN's node name, or the DMA's.
        op: FINN's operation without its implementation ("MVAU", "Pool", ...), or "IODMA".
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
    if isinstance(layer, SlidingWindow):
        return _window_cycles(layer)
    if isinstance(layer, Padding):
        return (layer.channels // layer.simd) * layer.out_height * layer.out_width
    if isinstance(layer, MaxPool):
        return layer.channels * layer.kernel // layer.pe * layer.vectors
    return layer.vectors * (layer.channels // layer.pe)


def _window_cycles(layer: SlidingWindow) -> int:
    """FINN's formula for its RTL sliding window."""
    groups = layer.channels // layer.simd
    pixel = layer.kernel_h == layer.kernel_w == 1
    if layer.parallel or pixel:
        return layer.height * layer.width * groups + 2
    if layer.height == 1 or layer.width == 1:
        return _row_cycles(layer, groups)
    buffered = (
        (layer.kernel_h - 1) * layer.dilation_h * layer.width + (layer.kernel_w - 1) * layer.dilation_w + 1
    ) * groups
    writing = layer.out_width * layer.kernel_w * layer.kernel_h * groups
    reading = layer.stride_w * layer.width * groups
    each_row = max(writing, reading)
    if layer.depthwise:
        each_row += layer.out_width * (layer.stride_w - 1) * (groups - 1)
    cycles = buffered + layer.out_height * each_row
    if layer.depthwise:
        cycles += (layer.stride_h - 1) * layer.width * groups
    return cycles


def _row_cycles(layer: SlidingWindow, groups: int) -> int:
    """The same for a map of one row or one column."""
    width, windows, kernel, stride = layer.width, layer.out_width, layer.kernel_w, layer.stride_w
    if layer.width == 1:
        width, windows, kernel, stride = layer.height, layer.out_height, layer.kernel_h, layer.stride_h
    if not layer.depthwise:
        return windows * kernel * groups + 2
    writing = windows * kernel * groups + (groups - 1) * kernel
    reading = width * groups + groups * (kernel - 1) * (stride - 1)
    return max(writing, reading) + 2


def estimate(layers: Sequence[Layer], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Estimate:
    """The cycle model of a chain of *layers* between its DMAs."""
    nodes = (
        *(NodeCycles(tensor.dma, "IODMA", dma_cycles(tensor)) for tensor in inputs),
        *(NodeCycles(layer.name, layer.op, layer_cycles(layer)) for layer in layers),
        *(NodeCycles(tensor.dma, "IODMA", dma_cycles(tensor)) for tensor in outputs),
    )
    slowest = max(nodes, key=lambda node: node.cycles)
    return Estimate(nodes, slowest.cycles, sum(node.cycles for node in nodes), slowest.name)
