"""A chain of layers with its tensors and arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from labd_host.dataflow.layers.label_select import LabelSelect
from labd_host.dataflow.layers.layer import Array, Layer
from labd_host.dataflow.layers.mvau import Mvau
from labd_host.dataflow.layers.thresholding import Thresholding
from labd_host.dataflow.layers.vvau import Vvau
from labd_shared.answers import CLASS, SIGN, VALUES
from labd_shared.digest import bytes_sha256, json_sha256
from labd_shared.tensors import Tensor, count


@dataclass(frozen=True, eq=False)
class DataflowGraph:
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

    def weights(self, layer: Mvau | Vvau) -> Array:
        """The weights of *layer*, (mw, mh) or (kernel, channels)."""
        return self.arrays[f"{layer.name}.weights"]

    def thresholds(self, layer: Mvau | Vvau | Thresholding) -> Array:
        """The thresholds of *layer*, (1 or channels, steps)."""
        return self.arrays[f"{layer.name}.thresholds"]

    @property
    def answer(self) -> str:
        """What it gives for a frame: the best class, whether one score is above 0, or values that mean themselves."""
        if isinstance(self.layers[-1], LabelSelect):
            return CLASS
        sink = self.outputs[0]
        return SIGN if count(sink.normal) == 1 and sink.datatype.name == "BINARY" else VALUES

    @property
    def arithmetic_sha256(self) -> str:
        """Digest of all that decides on what it computes; a folding does not."""
        layers = []
        for layer in self.layers:
            values = layer.record()
            layers.append(
                {key: value for key, value in values.items() if key not in ("pe", "simd", "parallel")}
            )
        arrays = {
            name: [list(array.shape), bytes_sha256(np.ascontiguousarray(array, dtype="<i8").tobytes())]
            for name, array in self.arrays.items()
        }
        edges = [[tensor.datatype.name, list(tensor.normal)] for tensor in (*self.inputs, *self.outputs)]
        return json_sha256([layers, arrays, edges])
