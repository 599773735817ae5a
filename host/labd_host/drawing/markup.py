"""Markup built as a tree and written by the standard library, so that no text is ever markup.

Names come from models, and models from anywhere: `element` is the only way a text gets into a page
or picture, it goes through `clean`, and ElementTree escapes it.
"""

import unicodedata
from xml.etree.ElementTree import Element, SubElement, tostring

MAX_TEXT = 4000  # characters of one text; no name needs them
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

Value = str | int | float


def clean(text: str) -> str:
    """*text* without what XML forbids and what a reader cannot see (control and direction marks)."""
    seen = (
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(each) in _UNSEEN else each
        for each in text[:MAX_TEXT]
    )
    return "".join(seen)


def columns(text: str) -> int:
    """How many columns of a monospaced font *text* takes: two for a wide letter, none for an accent."""
    return sum(_columns(each) for each in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def shorten(text: str, limit: int) -> str:
    """*text*, cleaned, in at most *limit* columns; an ellipsis stands for what was cut."""
    text = clean(text)
    if columns(text) <= limit and len(text) <= 2 * limit:
        return text
    kept, used = "", 0
    for letter in text[: 2 * limit]:
        used += _columns(letter)
        if used > limit - 1:
            break
        kept += letter
    return kept + "…"


def element(parent: Element | None, tag: str, text: str | None = None, /, **attributes: Value) -> Element:
    """A new element, at the end of *parent*; ``class_`` is class, ``stroke_width`` is stroke-width."""
    named = {key.rstrip("_").replace("_", "-"): _value(value) for key, value in attributes.items()}
    made = Element(tag, named) if parent is None else SubElement(parent, tag, named)
    if text is not None:
        made.text = clean(text)
    return made


def xml(root: Element) -> str:
    """*root* as a file of its own."""
    return tostring(root, encoding="unicode", method="xml") + "\n"


def html(root: Element) -> str:
    """*root* as an HTML page."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def fragment(root: Element) -> str:
    """*root* as a piece of an HTML page, for a notebook's cell."""
    return tostring(root, encoding="unicode", method="html")


def _value(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return clean(str(value))
