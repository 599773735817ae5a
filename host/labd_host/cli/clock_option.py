"""The option ``--clock-mhz``, the same in every command that takes a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from labd.folding_requests import DEFAULT_CLOCK_MHZ

CLOCKS_MHZ = (1.0, 250.0)


def clock_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--clock-mhz`` with *text* as its help."""
    return click.option(
        "--clock-mhz",
        type=click.FloatRange(*CLOCKS_MHZ),
        default=DEFAULT_CLOCK_MHZ,
        show_default=True,
        metavar="MHZ",
        help=text,
    )
