"""An export brought to the one form that labd evaluates and compiles, every change told in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labd_host.exports import operator_sets, scores, shapes, structure
from labd_host.exports.onnx_file import AGAIN, READ_AS, load_with_data
from labd_host.rewrites.four_axes import give_four_axes
from labd_host.rewrites.pixels import declare_raw_pixels
from labd_shared.digest import bytes_sha256
from labd_shared.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_PASSES: tuple[Callable[[Any], Iterator[str]], ...] = (
    operator_sets.inline_functions,
    operator_sets.sort_operator_sets,
    structure.name_nodes,
    operator_sets.raise_operator_set,
    structure.gather_constants,
    structure.check_wires,
    operator_sets.check_operators,
    structure.read_pixels_as_numbers,
    structure.drop_idle,
    shapes.fix_batch,
    shapes.fold_shapes,
    shapes.write_scales,
    shapes.write_attributes,
    shapes.move_padding,
    scores.take_scores,
)


@dataclass(frozen=True, eq=False)
class Export:
    """An exported network in labd's form.

    Attributes:
        path: The file it was read from.
        model: Standard operator set first, at least 12; one float input of a batch of one, one output; shapes
            known; all data inside.
        notes: What was changed, a line each.
        signs: Names of the bipolar quantisers that the file has as Sign, which leaves a 0 where they make +1.
    """

    path: Path
    model: onnx.ModelProto
    notes: tuple[str, ...]
    signs: tuple[str, ...]

    def sha256(self) -> str:
        """Digest of the model, data from other files included."""
        return bytes_sha256(self.model.SerializeToString(deterministic=True))


def read_export(path: Path) -> Export:
    """The export in *path*.

    Raises:
        ArtifactError: it cannot be read, is damaged, or is not one network of one input and one output.
    """
    model, sources = load_with_data(path)
    notes = [
        f"the data of {count} constants are read from {name} beside the file"
        for name, count in sources.items()
    ]
    try:
        structure.check(model)
        for change in _PASSES:
            notes += change(model)
        signs = tuple(node.name for node in model.graph.node if node.op_type == "Sign" and not node.domain)
        for change in (structure.read_signs, structure.read_bits, shapes.check_nodes):
            notes += change(model)
        notes += [*give_four_axes(model.graph), *declare_raw_pixels(model.graph)]
    except ArtifactError:
        raise
    except Exception as error:  # noqa: BLE001  onnx and protobuf raise classes of their own on a damaged model
        told = " ".join(str(error).split())
        raise ArtifactError(
            f"{path} is damaged, or not a network that ONNX understands: {type(error).__name__}: {told}",
            fix=AGAIN,
        ) from error
    for entry in [entry for entry in model.metadata_props if entry.key == READ_AS]:  # of an earlier reading
        model.metadata_props.remove(entry)
    if notes:
        model.metadata_props.add(key=READ_AS, value="\n".join(notes))
    return Export(path, model, tuple(notes), signs)
