"""The folding that a user asks for: a preset, a file, settings, or one that labd chooses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.dataflow.folding import FoldingSource

DEFAULT_CLOCK_MHZ = 100.0  # the clock of FINN's PYNQ shells
AUTO = "auto"

FoldingRequest: TypeAlias = "str | Path | Mapping[str, Mapping[str, Any]] | FoldingSource | None"


def chosen_folding(
    folding: FoldingRequest, target_fps: float | None, clock_mhz: float, *, network: str
) -> FoldingSource:
    """The folding that was asked for, or what labd is to choose; the lab's, else the fastest, where nothing was said.

    Args:
        folding: A preset, a file, "auto", FINN's settings themselves (node -> attribute -> value), a source of
            foldings, or None.
        target_fps: Frames a second at *clock_mhz*, or None.
        network: Whose presets there are.

    Raises:
        UsageError: a folding and a rate were given.
        ArtifactError: the file is not a folding.
        UnknownName: there is no preset and no file of that name.
    """
    from labd_host.dataflow.folding import Folding, load_folding
    from labd_host.dataflow.presets import LAB, PRESETS
    from labd_host.explore.for_a_rate import FastestFolding, FoldingForRate

    if target_fps is not None and folding not in (None, AUTO):
        raise UsageError(
            f"a folding ({folding}) and a rate ({target_fps:g} frames/s) were given, one decides the other",
            fix="leave the folding or the rate out",
        )
    if target_fps is not None:
        return FoldingForRate(target_fps, clock_mhz)
    if folding is None:
        folding = LAB if LAB in PRESETS.get(network, {}) else AUTO
    if folding == AUTO:
        return FastestFolding()
    if isinstance(folding, Mapping):
        return Folding("given", folding, {})
    return load_folding(str(folding), network) if isinstance(folding, str | Path) else folding
