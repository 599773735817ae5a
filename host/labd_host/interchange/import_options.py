"""What the user says at an import because no file does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labd_host.interchange.tensor_option import TensorOption
from labd_shared.manifest import Accuracy


@dataclass(frozen=True)
class ImportOptions:
    """What the user says because no file does; None or "" where nothing was said.

    Attributes:
        network, dataset, board: Their names.
        inputs, outputs: The tensors of a bare bitfile.
        hwh: The .hwh of a bare bitfile whose name differs.
        cycles: The accelerator's cycles a frame.
        clock_mhz: Another clock than the .hwh's.
        scale, offset: They make an input contract other than raw pixels.
        accuracy: Measured before.
        network_file: The golden model.
    """

    network: str = ""
    dataset: str = ""
    board: str = ""
    inputs: tuple[TensorOption, ...] = ()
    outputs: tuple[TensorOption, ...] = ()
    hwh: Path | None = None
    cycles: int | None = None
    clock_mhz: float | None = None
    scale: float | None = None
    offset: float | None = None
    accuracy: Accuracy | None = None
    network_file: Path | None = None
