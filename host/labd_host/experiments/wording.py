"""Figures in sentences: rates, quotients, shares, lists."""

from __future__ import annotations

from collections.abc import Sequence

SAME = 0.005  # rates and cells nearer than this are called equal


def rate(frames_per_s: float) -> str:
    """Frames a second, as tables have them."""
    return f"{frames_per_s:,.0f}" if frames_per_s >= 100 else f"{frames_per_s:.3g}"


def alike(one: float, other: float) -> bool:
    """Whether two figures are too near to speak of a difference."""
    return abs(one - other) <= SAME * abs(other)


def times(more: float, fewer: float) -> str:
    """ "3.5 times" """
    quotient = more / fewer
    return f"{quotient:,.0f} times" if quotient >= 10 else f"{quotient:.3g} times"


def fraction(fewer: float, more: float) -> str:
    """ "1/42 of", or "30 % of" where it is not that small."""
    quotient = more / fewer
    return f"1/{quotient:,.0f} of" if quotient >= 10 else f"{percent(fewer / more)} of"


def difference(quotient: float) -> str:
    """ "12 %" of a quotient of 1.12 or 0.88."""
    return percent(abs(quotient - 1))


def percent(part: float) -> str:
    """A part of 1: "31 %", "2.1 %"."""
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.2g} %"


def counted(number: int, what: str) -> str:
    """ "1 frame", "10 frames" """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """ "one, another and a third" """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def capital(words: str) -> str:
    """*words* as a sentence begins."""
    return words[:1].upper() + words[1:]
