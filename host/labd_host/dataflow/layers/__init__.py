"""The layers of a dataflow network, a file a kind, without FINN and without weights.

`layer` says what each kind answers. The golden model runs these layers, the cycle model counts them,
the folding rules check them and `labd_host.dataflow.network_file` stores them. Weights and thresholds
stand beside them in `DataflowGraph.arrays`.
"""

from labd_host.dataflow.layers.dataflow_graph import DataflowGraph
from labd_host.dataflow.layers.global_pool import GlobalPool
from labd_host.dataflow.layers.label_select import LabelSelect
from labd_host.dataflow.layers.layer import Array, Layer
from labd_host.dataflow.layers.mvau import Mvau
from labd_host.dataflow.layers.padding import Padding
from labd_host.dataflow.layers.pool import MaxPool
from labd_host.dataflow.layers.thresholding import Thresholding
from labd_host.dataflow.layers.upsample import Upsample
from labd_host.dataflow.layers.vvau import Vvau
from labd_host.dataflow.layers.width_converter import WidthConverter
from labd_host.dataflow.layers.window import SlidingWindow, windows_along

__all__ = [
    "KINDS",
    "Array",
    "GlobalPool",
    "LabelSelect",
    "Layer",
    "MaxPool",
    "Mvau",
    "DataflowGraph",
    "Padding",
    "SlidingWindow",
    "Thresholding",
    "Upsample",
    "Vvau",
    "WidthConverter",
    "kind_of",
    "windows_along",
]

KINDS: tuple[type[Layer], ...] = (
    Thresholding,
    Mvau,
    Vvau,
    SlidingWindow,
    Padding,
    MaxPool,
    GlobalPool,
    Upsample,
    LabelSelect,
)
_BY_NAME = {name: kind for kind in KINDS for name in kind.finn_names}


def kind_of(operation: str) -> type[Layer] | None:
    """The kind that FINN calls *operation* ("MVAU_hls", "StreamingFCLayer_Batch"); None if labd has none."""
    return _BY_NAME.get(operation.removesuffix("_hls").removesuffix("_rtl"))
