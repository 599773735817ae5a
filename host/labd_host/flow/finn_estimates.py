"""What FINN itself estimates of a folded graph, kept with the stage so that nothing need ask FINN again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labd_host.machine.typed_records import read_record
from labd_shared.records import Origin

FINN_ESTIMATES_FILE = "finn-estimates.json"
MAX_ESTIMATES_BYTES = 4 << 20


@dataclass(frozen=True)
class FinnEstimates:
    """FINN's estimates, node by node.

    Attributes:
        resources: Node -> LUT, BRAM18, URAM, DSP -> how many.
        cycles: Node -> cycles a frame; FINN knows no DMA.
    """

    resources: Mapping[str, Mapping[str, int]]
    cycles: Mapping[str, int]


def read_finn_estimates(folder: Path) -> FinnEstimates:
    """The estimates in the stage folder *folder*.

    Raises:
        ArtifactError: there are none, or the file is damaged.
    """
    path = folder / FINN_ESTIMATES_FILE
    return read_record(
        FinnEstimates, path, MAX_ESTIMATES_BYTES, Origin(str(path), "compile the network again")
    )
