"""finn-plus' settings.json: what its driver is told of an accelerator.

Source: finn-plus 1.6.1 transformation/fpgadataflow/make_driver.py; finn-plus-driver 1.6.1 cli.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labd_shared.errors import ArtifactError
from labd_shared.records import MAX_NAME, Origin, Value, parse_json

SETTINGS = "settings.json"
DRIVER_TYPE = "FINNDMAOverlay"
MAX_SETTINGS_BYTES = 4 << 20
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


def parse_settings(content: bytes, name: str = SETTINGS) -> SettingsFile:
    """Read a settings.json.

    Raises:
        ArtifactError: not JSON, a part is missing, another kind of driver, or weights that a DMA reads.
    """
    record = parse_json(content, MAX_SETTINGS_BYTES, Origin(name, _COPY)).fields(
        ("driver_information",), None
    )
    told = record["driver_information"].fields(("io_shape_dict",), None)
    io_shapes = told["io_shape_dict"].entries()
    kind = told["driver_type"].raw if "driver_type" in told else None
    if kind != DRIVER_TYPE:
        raise ArtifactError(
            f"{name} is for a {kind!r:.60}, labd runs accelerators of the {DRIVER_TYPE} kind",
            fix=f"build again with driver type {DRIVER_TYPE}",
        )
    if _given(told, "external_weights"):
        raise ArtifactError(
            f"{name} says external_weights: how often a frame reads them is not in it",
            fix="build again with the weights in the bitfile",
        )
    clock = told.get("fclk_mhz")
    return SettingsFile(
        {key: value.raw for key, value in io_shapes.items()},
        None if clock is None or clock.raw is None else clock.number(),
        told["platform"].text(MAX_NAME) if _given(told, "platform") else "",
        told["validation_dataset"].text(MAX_NAME) if _given(told, "validation_dataset") else "",
        _given(told, "runtime_weights"),
    )


def _given(record: dict[str, Value], key: str) -> bool:
    """Whether *record* has a *key* that is not null, false, zero or empty."""
    return key in record and bool(record[key].raw)
