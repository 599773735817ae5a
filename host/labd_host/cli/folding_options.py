"""The folding options of ``labd compile`` and ``labd build``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def folding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--folding`` and ``--target-fps``."""
    given = click.option(
        "--folding",
        metavar="NAME|FILE|auto",
        help="PE and SIMD: a preset (lab), FINN's folding JSON, or auto, the fastest that fits "
        "(default: lab where there is one, else auto).",
    )
    rate = click.option(
        "--target-fps",
        type=click.FloatRange(0.001, 1e9),
        metavar="N",
        help="Choose a folding for N frames a second instead.",
    )
    return given(rate(command))
