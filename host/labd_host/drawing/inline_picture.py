"""A picture that matplotlib drew, as part of a page: no namespace, no style for the page, no identifier twice."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from labd_host.drawing.markup import clean

_UNWANTED = ("metadata", "style")
_LINES = {"stroke-linejoin": "round", "stroke-linecap": "butt"}  # what matplotlib's own style sheet says


def inlined(svg: str, name: str, alternative: str) -> Element:
    """*svg* as an element of a page.

    Args:
        svg: A file of matplotlib's.
        name: Tells its identifiers from those of the page's other pictures.
        alternative: What it shows, in words.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314 - made here a moment ago
    for node in list(root.iter()):
        node.tag = node.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: _named(key, value, name) for key, value in node.attrib.items()}
        node.attrib.clear()
        node.attrib.update(attributes)
        for child in list(node):
            if child.tag.rpartition("}")[2] in _UNWANTED:
                node.remove(child)
    root.attrib.pop("version", None)
    root.attrib.update({**_LINES, "role": "img", "aria-label": clean(alternative)})
    return root


def _named(key: str, value: str, name: str) -> str:
    """An identifier, or a reference to one, with *name* in front."""
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href"):
        return value.replace("#", f"#{name}-", 1)
    return value.replace("url(#", f"url(#{name}-")
