"""A dataflow network as plain data: what each layer is, without FINN and without weights.

The golden model runs these layers, the cycle model counts them, the folding rules check them and
`network_file` stores them. Weights and thresholds stand beside them in `Network.arrays`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from labd_shared.tensors import Tensor

Array = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Thresholding:
    """Counts, per channel, how many thresholds a value reaches.

    Attributes:
        name: FINN's node name.
        channels: Values per vector.
        vectors: Vectors per frame (pixels of a feature map; 1 after a flatten).
        pe: Channels a cycle.
        steps: Thresholds per channel.
        input, output: Datatype names of one value.
        offset: Added to the count (FINN's ActVal).

    Array ``thresholds``: (1 or channels, steps), ascending along the last axis.
    """

    op: ClassVar[str] = "Thresholding"

    name: str
    channels: int
    vectors: int
    pe: int
    steps: int
    input: str
    output: str
    offset: int

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.vectors * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.vectors * self.channels


@dataclass(frozen=True)
class Mvau:
    """A matrix-vector product, followed by thresholds or not (FINN's MVAU).

    Attributes:
        name: FINN's node name.
        mw, mh: Columns (values per input vector) and rows (values per output vector).
        vectors: Vectors per frame.
        pe, simd: Rows and columns a cycle.
        steps: Thresholds per row; 0 where the accumulators themselves come out.
        xnor: Values and weights are bits that stand for -1 and +1, and the accumulator counts the
            columns where they agree (it is no dot product: that would be ``2 * count - mw``).
        input, weight, output: Datatype names.
        offset: Added to the count of thresholds (FINN's ActVal).

    Arrays ``weights``: (mw, mh); ``thresholds``, where steps > 0: (1 or mh, steps).
    """

    op: ClassVar[str] = "MVAU"

    name: str
    mw: int
    mh: int
    vectors: int
    pe: int
    simd: int
    steps: int
    xnor: bool
    input: str
    weight: str
    output: str
    offset: int

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.vectors * self.mw

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.vectors * self.mh


def windows_along(pixels: int, kernel: int, stride: int, dilation: int) -> int:
    """How many windows lie side by side along *pixels* pixels; below 1 where none fits."""
    return (pixels - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class SlidingWindow:
    """The windows of a feature map, as a convolution or a pool takes them (FINN's ConvolutionInputGenerator).

    A vector of the output is one window: its values in the order (row, column, channel).

    Attributes:
        name: FINN's node name.
        channels, height, width: Of the feature map.
        kernel_h, kernel_w: Of the window.
        stride_h, stride_w: Between windows.
        dilation_h, dilation_w: Between the values of a window; 1 where they touch.
        depthwise: The stream runs channel group by channel group, as a pool needs it (on the FPGA
            only; the values are the same).
        parallel: A whole window leaves in one cycle (FINN's parallel_window).
        simd: Channels a cycle.
        input, output: Datatype names, the same.
    """

    op: ClassVar[str] = "ConvolutionInputGenerator"

    name: str
    channels: int
    height: int
    width: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    depthwise: bool
    parallel: bool
    simd: int
    input: str
    output: str

    @property
    def out_height(self) -> int:
        """Windows from top to bottom; below 1 where none fits."""
        return windows_along(self.height, self.kernel_h, self.stride_h, self.dilation_h)

    @property
    def out_width(self) -> int:
        """Windows from left to right; below 1 where none fits."""
        return windows_along(self.width, self.kernel_w, self.stride_w, self.dilation_w)

    @property
    def in_values(self) -> int:
        """Values of one frame going in."""
        return self.height * self.width * self.channels

    @property
    def out_values(self) -> int:
        """Values of one frame coming out."""
        return self.out_height * self.out_width * self.kernel_h * self.kernel_w * self.channels


@dataclass(frozen=True)
class Padding:
    """Zeros around a feature map (FINN's FMPadding).

    Attributes:
        name: FINN's node name.
        channels, height, width: Of the feature map before.
        top, left, bottom, right: Rows and columns added.
        simd: Channels a cycle.
        input, output: Datatype names, the same.
    """

    op: ClassVar[str] = "FMPadding"

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


@dataclass(frozen=True)
class MaxPool:
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


@dataclass(frozen=True)
class LabelSelect:
    """The index of the largest score; equal scores go to the lower index.

    Attributes:
        name: FINN's node name.
        labels: Scores per frame.
        pe: Scores a cycle.
        input, output: Datatype names.
    """

    op: ClassVar[str] = "LabelSelect"

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


Layer = Thresholding | Mvau | SlidingWindow | Padding | MaxPool | LabelSelect
LAYERS: dict[str, type[Layer]] = {
    kind.op: kind for kind in (Thresholding, Mvau, SlidingWindow, Padding, MaxPool, LabelSelect)
}


@dataclass(frozen=True, eq=False)
class Network:
    """A chain of layers between its input and output tensors.

    Attributes:
        name: Of the network, for messages.
        layers: In the order of the stream.
        inputs, outputs: The accelerator's tensors.
        arrays: "<layer>.weights" (int8 to int32) and "<layer>.thresholds" (int64).
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    arrays: Mapping[str, Array] = field(repr=False)

    def weights(self, layer: Mvau) -> Array:
        """The weights of *layer*, (mw, mh)."""
        return self.arrays[f"{layer.name}.weights"]

    def thresholds(self, layer: Mvau | Thresholding) -> Array:
        """The thresholds of *layer*, (1 or channels, steps)."""
        return self.arrays[f"{layer.name}.thresholds"]
