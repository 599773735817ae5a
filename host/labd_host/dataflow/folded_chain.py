"""A folded design as plain data: what is predicted, simulated and optimised before anything is built.

The layers are those of the golden model (`labd_host.dataflow.layers`). Those of a network in the table
follow from its entry, without FINN and in no time: `design_of`. Those of anything else stand in the
network.npz that `labd compile` leaves and a bundle carries: `read_design`.

Source: the layers, their names and datatypes are what labd's flow makes of Brevitas' FC and CNV with
finn-plus 1.6.1; tests/host/dataflow/test_design.py compares with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from labd_host.dataflow.folding import FoldingSource, Settings, check_folding
from labd_host.dataflow.layers import LabelSelect, Layer, MaxPool, Mvau, SlidingWindow, Thresholding
from labd_host.dataflow.network_file import read_network
from labd_host.networks.table import KERNEL, POOL, NetworkSpec
from labd_shared.errors import UsageError
from labd_shared.manifest import NETWORK_NAME
from labd_shared.tensors import Tensor, make_tensor

BINARY, BIPOLAR, PIXEL, CLASS = "BINARY", "BIPOLAR", "UINT8", "UINT8"


@dataclass(frozen=True)
class FoldedChain:
    """A chain of folded layers between its DMAs.

    Attributes:
        name: Of the network.
        layers: In the order of the stream, with their PE and SIMD.
        inputs, outputs: The accelerator's tensors.
        settings: What the folding sets, by node: PE and SIMD, which the layers have too, and what they
            do not know (ram_style, resType, ...).
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    settings: Settings = field(default_factory=dict)

    def folded(self, folding: FoldingSource) -> FoldedChain:
        """The same network in another folding.

        Raises:
            UnknownName: the folding names a node that the network does not have.
            IllegalFolding: its values do not fit the layers.
            UsageError: no folding reaches what was asked for.
        """
        settings = folding.settings_for(self)
        check_folding(self.layers, settings)
        layers = tuple(layer.folded(settings[layer.name]) for layer in self.layers)
        inputs = (_input(self.inputs[0], layers[0]),)
        return replace(self, layers=layers, inputs=inputs, settings=settings)


def _input(tensor: Tensor, first: Layer) -> Tensor:
    """*tensor* as *first* takes it, a word a cycle."""
    lanes = first.words[0]
    values = tensor.normal[-1]
    together = math.gcd(lanes, values)  # an MVAU may take several pixels' channels, an edge never does
    folded = (*tensor.normal[:-1], values // together, together)
    return make_tensor(tensor.name, tensor.datatype.name, tensor.normal, folded, tensor.layout, tensor.dma)


def read_design(path: Path) -> FoldedChain:
    """The design in a compiled folder, in a bundle's folder, or in a network.npz.

    Raises:
        UsageError: there is none.
        ArtifactError: it is damaged.
    """
    file = path / NETWORK_NAME if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"there is no {file}",
            fix="give a network's name, a folder of `labd compile`, or a bundle's folder",
        )
    network = read_network(file)
    return FoldedChain(network.name, network.layers, network.inputs, network.outputs)


def design_of(entry: NetworkSpec) -> FoldedChain:
    """The design of a network as FINN makes it where no folding says otherwise.

    Windows and pools take all channels of a pixel at once, all other layers a value a cycle.
    """
    layers = tuple(_convolutional(entry) if entry.convs else _fully_connected(entry))
    height, width, channels = entry.input_shape
    normal = (1, height, width, channels) if entry.convs else (1, height * width * channels)
    layout = "NHWC" if entry.convs else "NC"
    first = make_tensor("global_in", PIXEL, normal, (*normal, 1), layout, "idma0")
    last = make_tensor("global_out", CLASS, (1, 1), (1, 1, 1), "NC", "odma0")
    return FoldedChain(entry.name, layers, (first,), (last,))


def _fully_connected(entry: NetworkSpec) -> Iterator[Layer]:
    pixels = math.prod(entry.input_shape)
    datatype, steps, offset = _activation(entry.in_bits)
    yield Thresholding("Thresholding_rtl_0", pixels, 1, 1, steps, PIXEL, datatype, offset)
    yield from _classifier(entry, datatype, count())


def _convolutional(entry: NetworkSpec) -> Iterator[Layer]:
    height, width, channels = entry.input_shape
    mvaus, windows, pools = count(), count(), count()
    datatype = f"INT{entry.in_bits}"
    lowest = -(1 << entry.in_bits - 1)
    yield Thresholding(
        "Thresholding_rtl_0", channels, height * width, 1, (1 << entry.in_bits) - 1, PIXEL, datatype, lowest
    )
    for conv in entry.convs:
        window = _window(next(windows), (channels, height, width), KERNEL, datatype)
        yield window
        height, width = window.out_height, window.out_width
        columns, channels = channels * KERNEL**2, conv.channels
        mvau = _mvau(entry, next(mvaus), (columns, channels, height * width), datatype)
        yield mvau
        datatype = mvau.output
        if conv.pool:
            window = _window(next(windows), (channels, height, width), POOL, datatype, pool=True)
            yield window
            height, width = window.out_height, window.out_width
            name = f"Pool_hls_{next(pools)}"
            yield MaxPool(name, channels, height * width, POOL**2, channels, datatype, datatype)
    yield from _classifier(entry, datatype, mvaus)


def _classifier(entry: NetworkSpec, datatype: str, mvaus: Iterator[int]) -> Iterator[Layer]:
    """The fully connected layers and the choice of the best class."""
    features = entry.flat_features
    for width in entry.hidden:
        mvau = _mvau(entry, next(mvaus), (features, width, 1), datatype)
        yield mvau
        features, datatype = width, mvau.output
    last = _mvau(entry, next(mvaus), (features, entry.classes, 1), datatype, scores=True)
    yield last
    yield LabelSelect("LabelSelect_hls_0", entry.classes, 1, last.output, CLASS)


def _mvau(
    entry: NetworkSpec, number: int, shape: tuple[int, int, int], datatype: str, *, scores: bool = False
) -> Mvau:
    """An MVAU of *shape* (columns, rows, vectors); *scores*: its sums come out as they are."""
    binary = entry.weight_bits == 1
    xnor = binary and datatype == BINARY
    weight = BINARY if xnor else BIPOLAR if binary else f"INT{entry.weight_bits}"
    output, steps, offset = ("UINT32" if xnor else "INT32", 0, 0) if scores else _activation(entry.act_bits)
    mw, mh, vectors = shape
    return Mvau(f"MVAU_hls_{number}", mw, mh, vectors, 1, 1, steps, xnor, datatype, weight, output, offset)


def _activation(bits: int) -> tuple[str, int, int]:
    """Datatype, thresholds and offset of a quantiser: a sign, or the narrow range around zero."""
    if bits == 1:
        return BINARY, 1, 0
    return f"INT{bits}", (1 << bits) - 2, 1 - (1 << bits - 1)


def _window(
    number: int, shape: tuple[int, int, int], kernel: int, datatype: str, *, pool: bool = False
) -> SlidingWindow:
    channels, height, width = shape
    stride = kernel if pool else 1
    return SlidingWindow(
        name=f"ConvolutionInputGenerator_rtl_{number}",
        channels=channels,
        height=height,
        width=width,
        kernel_h=kernel,
        kernel_w=kernel,
        stride_h=stride,
        stride_w=stride,
        dilation_h=1,
        dilation_w=1,
        depthwise=pool,
        parallel=False,
        simd=channels,
        input=datatype,
        output=datatype,
    )
