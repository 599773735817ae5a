"""The faults a virtual board's logic can be given."""

from __future__ import annotations

from collections.abc import Iterable

from labd_shared.errors import unknown_name

FAULTS = {
    "stuck-idma": "the input DMA never finishes",
    "stuck-odma": "the output DMA never finishes",
    "wrong-results": "one bit of every output frame is flipped",
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
