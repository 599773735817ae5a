"""The folding options of ``labd compile`` and ``labd build``; their words are understood here only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.dataflow.folding import FoldingSource

AUTO = "auto"


def folding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--folding`` and ``--target-fps``."""
    given = click.option(
        "--folding",
        metavar="NAME|FILE|auto",
        help="PE and SIMD: a preset (lab), FINN's folding JSON, or auto, the fastest that fits.",
    )
    rate = click.option(
        "--target-fps",
        type=click.FloatRange(0.001, 1e9),
        metavar="N",
        help="Choose a folding for N frames a second instead.",
    )
    return given(rate(command))


def folding_source(
    folding: str | None, target_fps: float | None, clock_mhz: float, *, network: str, command: str, out: Path
) -> FoldingSource:
    """Where the folding comes from, by what was typed.

    Args:
        folding: A preset, a file, "auto" or None.
        target_fps: Frames a second at *clock_mhz*, or None.
        network: Whose presets there are.
        command, out: What was typed: "labd compile NETWORK", and the folder.

    Raises:
        UsageError: both were given, or neither.
        ArtifactError, UnknownName: the folding is none, or there is none of that name.
    """
    from labd_host.dataflow.folding import load_folding
    from labd_host.dataflow.presets import PRESETS
    from labd_host.explore.for_a_rate import FastestFolding, FoldingForRate

    if target_fps is not None and folding not in (None, AUTO):
        raise UsageError(
            f"a folding ({folding}) and a rate ({target_fps:g} frames/s) were given, one decides the other",
            fix="leave --folding or --target-fps out",
        )
    if target_fps is not None:
        return FoldingForRate(target_fps, clock_mhz)
    if folding == AUTO:
        return FastestFolding()
    if folding is None:
        first = next(iter(PRESETS.get(network, {})), AUTO)
        raise UsageError(
            f"no folding and no rate was given for {network}",
            fix=f"{command} --folding {first} -o {out}",
        )
    return load_folding(folding, network)
