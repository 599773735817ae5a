"""The faults a virtual board's logic can be given."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from labd_shared.answers import gives_scores
from labd_shared.errors import unknown_name
from labd_shared.packing import pack_tensor, unpack_tensor
from labd_shared.tensors import Tensor, count

WRONG_CLASS = 3
FAULTS = {
    "stuck-idma": "the input DMA never finishes",
    "stuck-odma": "the output DMA never finishes",
    "dead-fifo": "frames enter and none comes out, as behind a FIFO that is stuck",
    "wrong-results": "one bit of every output frame is flipped",
    "wrong-class": f"class {WRONG_CLASS} is never found",
    "stale-buffer": "every second batch of answers does not reach the memory",
    "no-memory": "somebody else holds all contiguous memory",
    "clock-refused": "FCLK0 stays as it was at power-up, 50 MHz",
}
"""Fault -> what goes wrong while it is switched on."""


def check_faults(names: Iterable[str]) -> list[str]:
    """*names*, sorted and each once.

    Raises:
        UnknownName: there is no such fault.
    """
    wanted = sorted(set(names))
    for name in wanted:
        if name not in FAULTS:
            raise unknown_name("fault", name, FAULTS)
    return wanted


def without_class(frames: npt.NDArray[np.uint8], tensor: Tensor) -> npt.NDArray[np.uint8]:
    """Packed output frames (n, frame bytes) as a classifier gives them that never finds `WRONG_CLASS`."""
    values = unpack_tensor(frames.reshape(tensor.batched(tensor.packed, len(frames))), tensor)
    flat = values.reshape(len(frames), -1)
    if gives_scores(count(tensor.normal)):
        flat[:, WRONG_CLASS] = tensor.datatype.low
    else:
        flat[flat == WRONG_CLASS] = WRONG_CLASS + 1
    return pack_tensor(values, tensor).reshape(len(frames), -1)
