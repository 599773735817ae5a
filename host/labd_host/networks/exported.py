"""Run an exported network with its own arithmetic: the QONNX file, in onnxruntime.

QONNX has two operators that ONNX lacks. Their definitions are added to the file's graph as ONNX
functions, nothing in the graph itself is rewritten but its batch size, and onnxruntime computes
it in float32. Independent of torch, Brevitas, qonnx and FINN, so each can be compared with it.

Source: qonnx 1.0.0, custom_op/general/{bipolar_quant,quant}.py (binary_quant, quant, min_int,
max_int).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labd_shared.errors import ArtifactError, ShapeError

if TYPE_CHECKING:
    import onnx

QONNX_DOMAIN = "qonnx.custom_op.general"
BATCH = 1000  # images at a time: bounds the memory of intermediate tensors
MAX_MODEL_BYTES = 1 << 30

# Text in ONNX's own syntax; {opset} is the file's, so that functions and graph speak one version.
_BIPOLAR_QUANT = """
<domain: "qonnx.custom_op.general", opset_import: ["": {opset}]>
BipolarQuant (x, scale) => (y) {{
    zero = Constant <value_float: float = 0.0> ()
    above = GreaterOrEqual (x, zero)
    negative = Neg (scale)
    y = Where (above, scale, negative)
}}
"""
_QUANT = """
<domain: "qonnx.custom_op.general", opset_import: ["": {opset}]>
Quant <signed, narrow> (x, scale, zero_point, bits) => (y) {{
    one = Constant <value_float: float = 1.0> ()
    two = Constant <value_float: float = 2.0> ()
    signed_i = Constant <value_int: int = @signed> ()
    signed_f = Cast <to: int = 1> (signed_i)
    narrow_i = Constant <value_int: int = @narrow> ()
    narrow_f = Cast <to: int = 1> (narrow_i)
    magnitude_bits = Sub (bits, signed_f)
    levels = Pow (two, magnitude_bits)
    unsigned_f = Sub (one, signed_f)
    unsigned_narrow = Mul (unsigned_f, narrow_f)
    top = Sub (levels, one)
    high = Sub (top, unsigned_narrow)
    depth = Sub (levels, narrow_f)
    below = Mul (depth, signed_f)
    low = Neg (below)
    scaled = Div (x, scale)
    shifted = Add (scaled, zero_point)
    capped = Min (shifted, high)
    clipped = Max (capped, low)
    rounded = Round (clipped)
    centred = Sub (rounded, zero_point)
    y = Mul (centred, scale)
}}
"""


class ExportedModel:
    """An exported network, ready to run.

    Attributes:
        input_shape: Channels, height, width of one image.
    """

    def __init__(self, path: Path) -> None:
        """Load *path*.

        Raises:
            ArtifactError: no such file, or it is no QONNX network with one image input.
        """
        import onnxruntime

        model = load_qonnx(path)
        try:
            _define_operators(model)
            _resize_by_scales(model)
            self.input_shape = _free_batch(model)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # the same sums in the same order on every machine
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except ArtifactError:
            raise
        except Exception as error:  # noqa: BLE001  onnxruntime raises classes of its own, straight from Exception
            raise ArtifactError(
                f"{path} cannot be run: {error}", fix="export it again: labd train"
            ) from error
        self._input = model.graph.input[0].name

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits (n, classes) of uint8 images (n, height, width, channels).

        Raises:
            ShapeError: the images are not uint8 or not of the network's size.
        """
        channels, height, width = self.input_shape
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
            raise ShapeError(
                f"images are {images.dtype} {images.shape}, the network takes uint8 (n, {height}, {width}, {channels})",
                fix="choose the data set the network was trained on",
            )
        parts = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
            parts.append(np.asarray(self._session.run(None, {self._input: part})[0], np.float32))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def load_qonnx(path: Path) -> onnx.ModelProto:
    """The ONNX model in *path*, size-checked first.

    Raises:
        ArtifactError: no such file, too large, or no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise ArtifactError(f"no exported network at {path}", fix="labd train tfc-w1a1")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise ArtifactError(
            f"{path} has {path.stat().st_size} bytes, more than {MAX_MODEL_BYTES}",
            fix="is it an exported network?",
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ArtifactError(f"{path} is no ONNX model: {error}", fix="export it again: labd train") from error
    if not model.graph.node:
        raise ArtifactError(f"{path} holds no network", fix="export it again: labd train")
    return model


def _define_operators(model: onnx.ModelProto) -> None:
    import onnx.parser

    used = {node.op_type for node in model.graph.node if node.domain == QONNX_DOMAIN}
    if strange := sorted(used - {"BipolarQuant", "Quant"}):
        raise ArtifactError(
            f"the network has a {strange[0]} node, which labd cannot run", fix="use Quant or BipolarQuant"
        )
    for node in model.graph.node:
        rounding = [attribute.s for attribute in node.attribute if attribute.name == "rounding_mode"]
        if node.op_type == "Quant" and rounding not in ([], [b"ROUND"]):
            raise ArtifactError(
                f"node {node.name} rounds {rounding[0]!r}, labd knows 'ROUND'", fix="export with ROUND"
            )
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    for text in (_BIPOLAR_QUANT, _QUANT):
        model.functions.append(onnx.parser.parse_function(text.format(opset=opset)))


def _resize_by_scales(model: onnx.ModelProto) -> None:
    """Tell every Resize scales where it was told the sizes of a batch of one."""
    from onnx import numpy_helper, shape_inference

    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    told = [node for node in model.graph.node if node.op_type == "Resize" and len(node.input) > 3]
    if not told:
        return
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {
        entry.name: [axis.dim_value for axis in entry.type.tensor_type.shape.dim]
        for entry in (*inferred.value_info, *inferred.input)
    }
    for node in told:
        sizes, shape = constants.get(node.input[3]), shapes.get(node.input[0], [])
        if sizes is None or len(sizes) != len(shape) or min(shape) < 1:
            continue
        name = f"{node.output[0]}_scales"
        scales = sizes.astype(np.float32) / np.array(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(scales, name))
        del node.input[2:]
        node.input.append(name)


def _free_batch(model: onnx.ModelProto) -> tuple[int, int, int]:
    """Let the batch be of any size, wherever the export says 1; the shape of one image."""
    from onnx import numpy_helper

    constants = {entry.name: entry for entry in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    shape = [axis.dim_value for axis in inputs[0].type.tensor_type.shape.dim]
    if len(inputs) != 1 or len(shape) != 4:
        raise ArtifactError(
            f"the network has {len(inputs)} inputs, the first of shape {shape}; one of 4 axes was expected",
            fix="export it again: labd train",
        )
    for entry in (inputs[0], *model.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]  # shapes of a batch of one
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            target: npt.NDArray[Any] = numpy_helper.to_array(constants[node.input[1]]).copy()
            if target[0] == 1:
                target[0] = 0  # "as it comes", unless allowzero takes it at its word
                for attribute in [each for each in node.attribute if each.name == "allowzero"]:
                    attribute.i = 0
                constants[node.input[1]].CopyFrom(numpy_helper.from_array(target, node.input[1]))
    return shape[1], shape[2], shape[3]
