"""``--ignore-check``, the one option of all commands that go on although a check fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def ignore_option(said: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option, as the parameter ``ignored``, a tuple of names; what it is for is *said*."""
    return click.option("--ignore-check", "ignored", multiple=True, metavar="CHECK", help=said)
