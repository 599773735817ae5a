"""When the frames of a batch leave the accelerator: the cycle model's interval and latency, and the DMA's bursts.

The input DMA of FINN's shell reads a frame in beats of gcd(bits of a frame, 64) bits. It does not read
a batch in one piece: while the number of frames left is no multiple of 16 it asks for one frame, then
for 16 at a time, and between two requests it waits for the memory with nothing in flight. Where the
DMA is the bottleneck these gaps count; where a layer is, the DMA gets ahead and they are hidden.

Source: Xilinx/finn-hlslib dma.h (Mem2Stream_Batch); the width: Xilinx/finn 39f0c9a, insert_iodma.py:120-125,
port width 64 on the PYNQ-Z2 (util/basic.py:55). docs/timing.md compares the model with published boards.
"""

import math
from typing import Sequence

import numpy as np

from labd_shared.manifest import Expected
from labd_shared.tensors import Tensor

DMA_PORT_BITS = 64
BURST_FRAMES = 16
# Cycles of a request beside its beats. The control: Vitis HLS schedules a request of 98 beats with 112
# cycles and one of 1568 with 1582 (2024.2, xc7z020, memory that answers at once).
REQUEST_CYCLES = 14
# The memory's answer: what AMD has HLS assume of external memory where nobody says better (UG1399,
# default of m_axi_latency in the Vitis flow). It is not fitted to any figure that the model predicts.
MEMORY_CYCLES = 64
GAP_CYCLES = REQUEST_CYCLES + MEMORY_CYCLES


def dma_cycles(tensor: Tensor) -> int:
    """Cycles the DMA of *tensor* is busy with one frame: its beats, one a cycle.

    >>> from labd_shared.tensors import make_tensor
    >>> dma_cycles(make_tensor("in", "UINT8", (1, 784), (1, 16, 49), "NC", "idma0"))
    98
    """
    frame_bits = tensor.frame_bytes * 8
    return frame_bits // math.gcd(frame_bits, DMA_PORT_BITS)


def requests(frames: int) -> int:
    """Requests in which the input DMA reads a batch of *frames*.

    >>> requests(1000), requests(10000)
    (70, 625)
    """
    return frames % BURST_FRAMES + frames // BURST_FRAMES


def leaving_cycles(expected: Expected, sources: Sequence[Tensor], frames: int) -> np.ndarray:
    """Cycles from the start of a batch until each of its frames has left the accelerator.

    Args:
        expected: The cycle model's numbers.
        sources: The input tensors, a DMA each; a frame is there when the slowest has read its part.
        frames: In the batch.

    Returns:
        int64 ``(frames,)``, ascending.
    """
    beats, interval = slowest_dma_cycles(sources), expected.cycles_per_frame
    number = np.arange(1, frames + 1, dtype=np.int64)
    single = frames % BURST_FRAMES
    asked = np.where(number <= single, number, single + -((single - number) // BURST_FRAMES))
    arrived = number * beats + asked * GAP_CYCLES
    # A frame starts when it is there and the one before it is an interval ahead: from the latest that
    # kept the others waiting, one interval a frame.
    taken = np.maximum.accumulate(arrived - number * interval) + number * interval
    return np.asarray(taken + behind_the_dma(expected, sources), np.int64)


def slowest_dma_cycles(sources: Sequence[Tensor]) -> int:
    """Cycles until every input DMA has read its part of a frame."""
    return max(dma_cycles(source) for source in sources)


def behind_the_dma(expected: Expected, sources: Sequence[Tensor]) -> int:
    """Cycles from a frame's last beat until it has left: the latency without the input DMA's part."""
    return max(expected.latency_cycles - slowest_dma_cycles(sources), 0)


def batch_cycles(expected: Expected, sources: Sequence[Tensor], frames: int) -> int:
    """Cycles from the start of a batch until its last frame has left; see `leaving_cycles`."""
    return int(leaving_cycles(expected, sources, frames)[-1]) if frames else 0
