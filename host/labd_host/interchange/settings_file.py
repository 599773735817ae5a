"""finn-plus' settings.json: what its driver is told of an accelerator.

Source: finn-plus 1.6.1 transformation/fpgadataflow/make_driver.py; finn-plus-driver 1.6.1 cli.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from labd_shared.errors import ArtifactError

DRIVER_TYPE = "FINNDMAOverlay"
_COPY = "copy the settings.json that finn-plus generated for this bitfile"


@dataclass(frozen=True)
class SettingsFile:
    """What a settings.json says.

    Attributes:
        io_shapes: io_shape_dict as it stands.
        fclk_mhz: The clock it was built for, None where it does not say.
        platform: "zynq-iodma".
        dataset: The validation data set's name, "" where there is none.
    """

    io_shapes: dict[str, Any]
    fclk_mhz: float | None
    platform: str
    dataset: str
    runtime_weights: bool


def parse_settings(content: bytes, name: str = "settings.json") -> SettingsFile:
    """Read a settings.json.

    Raises:
        ArtifactError: no JSON, a part is missing, another kind of driver, or weights that a DMA reads.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is no JSON: {error}", fix=_COPY) from error
    told = record.get("driver_information") if isinstance(record, dict) else None
    if not isinstance(told, dict) or not isinstance(told.get("io_shape_dict"), dict):
        raise ArtifactError(f"{name} has no driver_information with an io_shape_dict", fix=_COPY)
    kind = told.get("driver_type")
    if kind != DRIVER_TYPE:
        raise ArtifactError(
            f"{name} is for a {kind!r}, labd runs accelerators of the {DRIVER_TYPE} kind",
            fix=f"build again with driver type {DRIVER_TYPE}",
        )
    if told.get("external_weights"):
        raise ArtifactError(
            f"{name} says external_weights: how often a frame reads them is not in it",
            fix="build again with the weights in the bitfile",
        )
    clock = told.get("fclk_mhz")
    if clock is not None and (isinstance(clock, bool) or not isinstance(clock, int | float)):
        raise ArtifactError(f"{name} has fclk_mhz {clock!r}, no number", fix=_COPY)
    return SettingsFile(
        told["io_shape_dict"],
        None if clock is None else float(clock),
        str(told.get("platform") or ""),
        str(told.get("validation_dataset") or ""),
        bool(told.get("runtime_weights")),
    )
