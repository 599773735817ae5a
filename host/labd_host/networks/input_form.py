"""What one frame of a data set must be for an exported network."""

from __future__ import annotations

from labd_host.exports import read_export
from labd_host.networks.exported import declared
from labd_host.networks.trained_export import TrainedExport
from labd_shared.dataset_table import DATASETS
from labd_shared.datatypes import Datatype, parse_datatype
from labd_shared.errors import ArtifactError, DatatypeError
from labd_shared.frame_form import PIXEL, FrameForm


def input_form(export: TrainedExport) -> FrameForm:
    """Shape and datatype of what *export* takes, pictures with channels last.

    The datatype is None where the export takes floats: then the data set's own values become them.

    Raises:
        ArtifactError: the file is not a network, or its input is not one frame of a fixed size.
    """
    if export.spec is not None:
        known = DATASETS.get(export.spec.dataset)
        return FrameForm(
            export.name,
            export.spec.input_shape,
            PIXEL,
            known.class_names if known is not None else (),
            export.spec.classes,
        )
    model = read_export(export.file).model
    constants = {entry.name for entry in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    shape = [axis.dim_value for axis in inputs[0].type.tensor_type.shape.dim][1:] if inputs else []
    if len(inputs) != 1 or len(shape) not in (1, 2, 3) or min(shape) < 1:
        raise ArtifactError(
            f"{export.file} has {len(inputs)} inputs, the first of {shape} values a frame; one of a fixed size "
            "is wanted",
            fix="export it with one input of a fixed size, for example (1, 3, 32, 32)",
        )
    datatype = _declared_datatype(declared(model, inputs[0].name), inputs[0].name)
    given = [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim][1:]
    classes = given[0] if len(given) == 1 and given[0] > 1 else 0
    if len(shape) == 1:
        return FrameForm(export.name, (shape[0],), datatype, classes=classes)
    channels, height, width = shape if len(shape) == 3 else (shape[0], 1, shape[1])
    return FrameForm(export.name, (height, width, channels), datatype, classes=classes)


def _declared_datatype(name: str, tensor: str) -> Datatype | None:
    """The datatype *name* that an export declares for *tensor*; None for floats."""
    if name in ("", "FLOAT32"):
        return None
    try:
        return parse_datatype(name)
    except DatatypeError as error:
        raise ArtifactError(
            f"the input {tensor} is declared {name}: {error.what}",
            fix="declare it as INT8, UINT8 or another type of integers",
        ) from error
