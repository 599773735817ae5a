"""Run an exported network with its own arithmetic: the QONNX file, in onnxruntime.

The export is read as `labd_host.exports` reads it, QONNX's operators are defined as ONNX functions
(`labd_host.networks.runnable`), and onnxruntime computes it in float32. Independent of torch, Brevitas, qonnx and
FINN, so each can be compared with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labd_host.datasets import PIXELS, Entering
from labd_host.exports import Export, read_export
from labd_host.exports.onnx_file import AGAIN
from labd_host.exports.shapes import infer_shapes
from labd_host.exports.wiring import Wiring, remove_attribute
from labd_host.machine.listener import Listener
from labd_host.networks.runnable import count_zeros, make_runnable
from labd_shared.errors import ArtifactError, ShapeError

if TYPE_CHECKING:
    import onnx

BATCH = 1000  # images at a time: bounds the memory of intermediate tensors
_IMAGE_AXES = 4
_SOME_BATCH = 7919  # a prime: no size of a network's own


class ExportedModel:
    """An exported network, ready to run.

    Attributes:
        input_shape: Of one image: channels, height, width; or one axis, of an image laid out flat.
        notes: What was changed when the file was read, a line each.
        sha256: Digest of the network, data beside its file included.
        zeros: How many values of exactly 0 became +1 so far, where the file has Sign, which leaves them 0.
    """

    def __init__(self, source: Path | Export) -> None:
        """Load *source*: a file, or what was read of it.

        Raises:
            ArtifactError: no such file, or it is not a QONNX network with one input.
        """
        import onnxruntime

        export = source if isinstance(source, Export) else read_export(source)
        self.notes, self.sha256 = export.notes, export.sha256()
        model = type(export.model)()
        model.CopyFrom(export.model)
        entry = model.graph.input[0]
        self.input_shape = tuple(axis.dim_value for axis in entry.type.tensor_type.shape.dim)[1:]
        self._takes_values = declared(model, entry.name) not in ("", "FLOAT32")
        self._at_once = BATCH if _free_batch(model) else 1
        self.zeros = 0
        try:
            count_zeros(model, export.signs)
            make_runnable(model)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # the same sums in the same order on every machine
            options.log_severity_level = 4  # its errors are raised as well
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except ArtifactError:
            raise
        except Exception as error:  # noqa: BLE001  onnxruntime raises classes of its own, straight from Exception
            told = " ".join(str(error).split())
            raise ArtifactError(f"{export.path} cannot be run: {told}", fix=AGAIN) from error
        self._input = entry.name

    def run(self, images: npt.NDArray[Any], entering: Entering = PIXELS) -> npt.NDArray[np.float32]:
        """Scores (n, ...) of images (n, height, width, channels), or of frames (n, values).

        A network that takes an image laid out flat gets all of a channel before the next, as torch flattens it.

        Args:
            images: Integers, uint8 of pixels.
            entering: How their values become what the export is given.

        Raises:
            ShapeError: the images are of another type, or not of the network's size.
        """
        if images.dtype != entering.stored or not self._fits(images):
            height_width_channels = (*self.input_shape[1:], *self.input_shape[:1])
            wanted = ", ".join(str(axis) for axis in height_width_channels)
            raise ShapeError(
                f"images are {images.dtype} {images.shape}, the network takes {entering.stored} (n, {wanted})",
                fix="choose the data set the network was trained on",
            )
        parts = []
        for start in range(0, len(images), self._at_once):
            part = images[start : start + self._at_once]
            if part.ndim == _IMAGE_AXES:
                part = part.transpose(0, 3, 1, 2)
            values = part.reshape(-1, *self.input_shape)
            values = values.astype(np.float32) if self._takes_values else entering.floats(values)
            found = self._computed(values)
            parts.append(found if len(found) == len(part) else found.reshape(len(part), -1))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _computed(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The output for *values*, which have the network's form."""
        try:
            scores, *zeros = self._session.run(None, {self._input: values})
        except Exception as error:  # noqa: BLE001  as above
            told = " ".join(str(error).split())
            raise ArtifactError(f"the network cannot be run: {told}", fix=AGAIN) from error
        self.zeros += int(sum(float(count) for count in zeros))
        return np.asarray(scores, np.float32)

    def tell_zeros(self, listener: Listener) -> None:
        """Say how many values of exactly 0 became +1, where there were any."""
        if self.zeros:
            listener.say(f"Sign: {self.zeros} values of exactly 0 became +1, where ONNX leaves 0")

    def _fits(self, images: npt.NDArray[np.uint8]) -> bool:
        if images.ndim == _IMAGE_AXES and len(self.input_shape) == _IMAGE_AXES - 1:
            channels, height, width = self.input_shape
            return images.shape[1:] == (height, width, channels)
        size = int(np.prod(images.shape[1:]))
        return len(self.input_shape) == 1 and size == self.input_shape[0]


def declared(model: onnx.ModelProto, tensor: str) -> str:
    """FINN's datatype of *tensor*, "" where the file declares none."""
    for note in model.graph.quantization_annotation:
        for pair in note.quant_parameter_tensor_names:
            if note.tensor_name == tensor and pair.key == "finn_datatype":
                return str(pair.value)
    return ""


def _free_batch(model: onnx.ModelProto) -> bool:
    """Let the batch be of any size, wherever the export says 1; False, and nothing is changed, where that fails."""
    from onnx import numpy_helper

    freed = type(model)()
    freed.CopyFrom(model)
    wiring = Wiring(freed.graph)
    for node in freed.graph.node:
        target: npt.NDArray[Any] | None = (
            wiring.constant(node.input[1]) if node.op_type == "Reshape" else None
        )
        if target is not None and target.size and target[0] == 1:
            target = target.copy()
            target[0] = 0  # "as it comes", unless allowzero takes it at its word
            remove_attribute(node, "allowzero")
            wiring.constants[node.input[1]].CopyFrom(numpy_helper.from_array(target, node.input[1]))
    freed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = _SOME_BATCH
    for output in freed.graph.output:
        output.type.tensor_type.ClearField("shape")
    infer_shapes(freed)
    axes = freed.graph.output[0].type.tensor_type.shape.dim
    if not axes or axes[0].dim_value != _SOME_BATCH:
        return False
    for entry in (*freed.graph.input, *freed.graph.value_info, *freed.graph.output):
        for axis in entry.type.tensor_type.shape.dim[:1]:
            if axis.dim_value == _SOME_BATCH:
                axis.dim_param = "batch"
    model.CopyFrom(freed)
    return True
