"""The option ``--clock-mhz``, the same in every command that takes a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

DEFAULT_MHZ = 100.0  # the clock of FINN's PYNQ shells unless told otherwise
CLOCKS_MHZ = (1.0, 250.0)


def clock_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--clock-mhz`` with *text* as its help."""
    return click.option(
        "--clock-mhz",
        type=click.FloatRange(*CLOCKS_MHZ),
        default=DEFAULT_MHZ,
        show_default=True,
        metavar="MHZ",
        help=text,
    )
