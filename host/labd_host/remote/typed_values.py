"""Numbers of `fab` options: what was typed becomes a number here, once; invoke hands over text."""

from collections.abc import Callable
from typing import TypeVar

from labd_shared.errors import UsageError

MAX_DEADLINE_S = 1e6
Number = TypeVar("Number", int, float)


def seconds(option: str, text: str) -> float:
    """A deadline in seconds.

    Raises:
        UsageError: *text* is not one, or not above 0.
    """
    found = _parsed(float, text)
    if found is None or not 0 < found < MAX_DEADLINE_S:
        raise _not(option, text, "a number of seconds", "900")
    return found


def count(option: str, text: str) -> int | None:
    """A whole number of 1 or more; None where nothing was typed.

    Raises:
        UsageError: *text* is something else.
    """
    if not text:
        return None
    found = _parsed(int, text)
    if found is None or found < 1:
        raise _not(option, text, "a whole number of 1 or more", "100")
    return found


def counts(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers of 1 or more with commas between them; () where nothing was typed.

    Raises:
        UsageError: *text* is something else.
    """
    found = [_parsed(int, part) for part in text.split(",")] if text else []
    whole = tuple(each for each in found if each is not None and each >= 1)
    if len(whole) != len(found):
        raise _not(option, text, "whole numbers of 1 or more with commas between them", "1,100,10000")
    return whole


def percentage(option: str, text: str) -> float | None:
    """A percentage; None where nothing was typed.

    Raises:
        UsageError: *text* is not a number from 0 to 100.
    """
    if not text:
        return None
    found = _parsed(float, text)
    if found is None or not 0 <= found <= 100:
        raise _not(option, text, "a number from 0 to 100", "90")
    return found


def _parsed(kind: Callable[[str], Number], text: str) -> Number | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _not(option: str, text: str, kind: str, example: str) -> UsageError:
    return UsageError(f"--{option} is {text!r}, not {kind}", fix=f"for example: --{option} {example}")
