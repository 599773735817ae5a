"""How the stored values of a data set become what a network's first operation is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_shared.dataset_table import PIXEL_SCALE, DatasetSpec
from labd_shared.datatypes import parse_datatype
from labd_shared.fields import container


@dataclass(frozen=True)
class Entering:
    """``value * scale + offset``, for an export that takes floats; one that declares integers takes the values.

    Attributes:
        datatype: Of the stored values: what the accelerator takes.
        scale, offset: Of the export's input.
    """

    datatype: str = "UINT8"
    scale: float = PIXEL_SCALE
    offset: float = 0.0

    @classmethod
    def of(cls, spec: DatasetSpec) -> Entering:
        """How the values of a data set enter."""
        return cls(spec.datatype, spec.scale, spec.offset)

    @property
    def is_pixels(self) -> bool:
        """Whether it is pixel / 255, as every network of labd's own table takes images."""
        return self == PIXELS

    @property
    def stored(self) -> np.dtype[Any]:
        """Of the arrays that hold the values."""
        return container(parse_datatype(self.datatype))

    def floats(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """What an export that takes floats is given, computed as the graph in front of it does."""
        found = values.astype(np.float32)
        if self.is_pixels:
            return found / np.float32(255)
        if self.scale != 1:
            found *= np.float32(self.scale)
        if self.offset:
            found += np.float32(self.offset)
        return found


PIXELS = Entering()
