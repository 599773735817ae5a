"""io_shape_dict of every generation -> tensors.

2021: one value a key. Later: a list a key, one entry a tensor. finn-plus: the same with ``idma_names``
for ``input_dma_name``, texts like ``DataType['UINT8']`` and lists for tuples. The packed shapes are
recomputed; where the dictionary says others, it contradicts itself and is refused.

Source: Xilinx/finn v0.5 to v0.10 driver.py and driver_base.py; finn-plus 1.6.1 util/basic.py
(get_driver_shapes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labd_host.interchange.findings import Findings
from labd_shared.errors import ArtifactError, LabdError
from labd_shared.tensors import Shape, Tensor, count, make_tensor

LAYOUTS = {2: "NC", 3: "NWC", 4: "NHWC"}
MAX_FRAME_BYTES = 64 << 20
MAX_TENSORS = 16
_NAMED = re.compile(r"^DataType\[['\"]?([A-Z0-9]+)['\"]?\]$")
_DMAS = {"i": ("idma_names", "input_dma_name"), "o": ("odma_names", "output_dma_name")}
_KNOWN = {
    *(side + key for side in "io" for key in ("dt", "shape_normal", "shape_folded", "shape_packed")),
    *(name for names in _DMAS.values() for name in names),
    "num_inputs", "num_outputs", "number_of_external_weights", "external_weights_input_shapes", "mlo_weight_config",
}  # fmt: skip
_FIX = "correct it in {where}, or import the bare .bit with --input and --output"


@dataclass(frozen=True)
class IoShapes:
    """The tensors of an accelerator and which generation told them."""

    generation: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_io_shapes(record: Mapping[str, Any], where: str, findings: Findings) -> IoShapes:
    """The tensors in *record*, checked.

    Args:
        record: io_shape_dict.
        where: The file it stands in, for messages.
        findings: Told what was checked and assumed.

    Raises:
        ArtifactError: a key is missing or of another form, shapes contradict each other, or weights
            have to be loaded.
    """
    _refuse_weights(record, where)
    scalar = not isinstance(record.get("idt"), list | tuple)
    generation = "one value a key (2021)" if scalar else "a list a key"
    if "idma_names" in record:
        generation = "finn-plus"
    strange = sorted(set(record) - _KNOWN)
    if strange:
        findings.doubt("unknown keys", f"{where} says {', '.join(strange)}, which labd does not know")
    inputs = _side(record, "i", "input", scalar, where, findings)
    outputs = _side(record, "o", "output", scalar, where, findings)
    names = [tensor.dma for tensor in (*inputs, *outputs)]
    if len(set(names)) != len(names):
        raise ArtifactError(f"{where} moves two tensors with one DMA: {', '.join(names)}", fix=_fix(where))
    return IoShapes(generation, inputs, outputs)


def checked_tensor(name: str, datatype: str, normal: Shape, folded: Shape, dma: str, where: str) -> Tensor:
    """`make_tensor` for what comes from outside.

    Raises:
        ArtifactError: unknown datatype, contradicting shapes, or a frame larger than anything sane.
    """
    try:
        tensor = make_tensor(name, datatype, normal, folded, LAYOUTS.get(len(normal), ""), dma)
    except LabdError as error:
        raise ArtifactError(f"{where}: {error.what}", fix=_fix(where)) from error
    if not tensor.layout:
        raise ArtifactError(
            f"{where}: {name} has a normal shape of {len(normal)} axes {normal}, 2 to 4 are known",
            fix=_fix(where),
        )
    if tensor.frame_bytes > MAX_FRAME_BYTES:
        raise ArtifactError(
            f"{where}: one frame of {name} takes {tensor.frame_bytes} bytes, more than {MAX_FRAME_BYTES}",
            fix=_fix(where),
        )
    return tensor


def _fix(where: str) -> str:
    return _FIX.format(where=where)


def _refuse_weights(record: Mapping[str, Any], where: str) -> None:
    try:
        external = int(record.get("number_of_external_weights") or 0)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"{where}: number_of_external_weights is {record['number_of_external_weights']!r}",
            fix=_fix(where),
        ) from error
    if external or record.get("mlo_weight_config"):
        what = f"{external} external weights" if external else "weights in DDR (mlo_weight_config)"
        raise ArtifactError(
            f"{where} says the accelerator has {what}: labd's driver does not load weights yet",
            fix="build again with the weights in the bitfile",
        )


def _side(
    record: Mapping[str, Any], side: str, noun: str, scalar: bool, where: str, findings: Findings
) -> tuple[Tensor, ...]:
    def values(key: str) -> list[Any]:
        if key not in record:
            raise ArtifactError(f"{where}: io_shape_dict has no {key!r}", fix=_fix(where))
        value = record[key]
        if scalar:
            return [value]
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_TENSORS:
            raise ArtifactError(
                f"{where}: {key} is {value!r}, no list of 1 to {MAX_TENSORS}", fix=_fix(where)
            )
        return list(value)

    datatypes = [_datatype(value, f"{side}dt", where) for value in values(f"{side}dt")]
    shapes = {
        kind: [_shape(value, f"{side}shape_{kind}", where) for value in values(f"{side}shape_{kind}")]
        for kind in ("normal", "folded", "packed")
    }
    dmas = _dma_names(record, side, noun, len(datatypes), where, findings)
    counts = {len(datatypes), len(dmas), *(len(each) for each in shapes.values())}
    said = record.get(f"num_{noun}s", len(datatypes))
    if counts != {said}:
        raise ArtifactError(
            f"{where} describes {len(datatypes)} datatypes, {len(shapes['normal'])} shapes and {len(dmas)} DMAs "
            f"for {said} {noun}s",
            fix=_fix(where),
        )
    tensors = []
    for index, (datatype, normal, folded, packed, dma) in enumerate(
        zip(datatypes, shapes["normal"], shapes["folded"], shapes["packed"], dmas, strict=True)
    ):
        name = f"global_{noun[:-3]}" + (f"_{index}" if len(dmas) > 1 else "")  # as FINN calls them
        tensor = checked_tensor(name, datatype, normal, folded, dma, where)
        if packed != tensor.packed:
            raise ArtifactError(
                f"{where}: {side}shape_packed is {packed}, {folded} of {datatype} packs to {tensor.packed}",
                fix=_fix(where),
            )
        findings.checked(f"{noun} {dma}", f"{datatype} {normal}, folded {folded}, packs to {tensor.packed}")
        if count(folded[-2:]) != normal[-1]:
            findings.doubt(
                f"{noun} {dma}",
                f"folds {folded[-2:]} do not make up the {normal[-1]} values of the innermost axis",
            )
        tensors.append(tensor)
    return tuple(tensors)


def _dma_names(
    record: Mapping[str, Any], side: str, noun: str, number: int, where: str, findings: Findings
) -> list[str]:
    value = next((record[key] for key in _DMAS[side] if key in record), None)
    if value is None:
        names = [f"{side}dma{index}" for index in range(number)]
        findings.assumed("DMA names", f"{where} names no {noun} DMA: {', '.join(names)}, as FINN calls them")
        return names
    given: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(name, str) and re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", name) for name in given):
        raise ArtifactError(f"{where}: {noun} DMAs are {value!r}, no names of blocks", fix=_fix(where))
    return given


def _datatype(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        raise ArtifactError(f"{where}: {key} holds {value!r}, no datatype", fix=_fix(where))
    match = _NAMED.match(value)
    return match.group(1) if match else value


def _shape(value: Any, key: str, where: str) -> Shape:
    if (
        not isinstance(value, list | tuple)
        or not 2 <= len(value) <= 8
        or not all(isinstance(axis, int) and not isinstance(axis, bool) for axis in value)
    ):
        raise ArtifactError(f"{where}: {key} holds {value!r}, no shape of 2 to 8 integers", fix=_fix(where))
    return tuple(value)
