"""One page with the pictures of the images on which two runs differ, and what each run said.

The page is a file of its own: it loads nothing and runs nothing, and its content security policy
forbids both; pictures stand in it as data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy.typing as npt

from labd_host.drawing.markup import element, html
from labd_host.drawing.page_style import PAGE_STYLE
from labd_host.drawing.png import data_uri
from labd_host.judge.agreement import Comparison, Difference, class_name
from labd_shared.dataset_table import UNKNOWN_LABEL

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
RUNS = ("A", "B")
STYLE = """
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 16px; }
.sample { margin: 0; padding: 12px; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; }
.sample img, .sample .none { display: block; width: 140px; height: 140px; margin: 0 auto 10px;
  image-rendering: pixelated; }
.sample .none { display: grid; place-items: center; border: 1px dashed var(--line); color: var(--soft);
  font-size: 13px; }
.sample p { margin: 2px 0; font-size: 14px; overflow-wrap: anywhere; }
.sample .where { color: var(--soft); font-size: 12px; }
.right { color: var(--good); }
.mistaken { color: var(--bad); }
"""


def comparison_page(
    comparison: Comparison,
    given: tuple[str, str],
    names: Sequence[str],
    pictures: Mapping[int, npt.NDArray[Any]],
    most: int,
) -> str:
    """The page as HTML.

    Args:
        comparison: What is shown.
        given: What the user called each run.
        names: Of the classes.
        pictures: uint8 (height, width, 1 or 3) by digest, of as many images as there are.
        most: So many differing images are shown at most.
    """
    page = element(None, "html", lang="en")
    head = element(page, "head")
    element(head, "meta", charset="utf-8")
    policy = element(head, "meta", content=POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    element(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    about = comparison.about
    element(head, "title", f"{about[0]['network']} and {about[1]['network']}: where they differ")
    head_style = element(head, "style")
    head_style.text = PAGE_STYLE + STYLE
    body = element(element(page, "body"), "main")
    element(body, "h1", f"{len(comparison.differences):,} of {comparison.matched:,} images differ")
    _summary(body, comparison, given)
    if comparison.classes:
        _classes(body, comparison, names)
    shown = comparison.differences[:most]
    element(body, "h2", "The images")
    if len(shown) < len(comparison.differences):
        element(body, "p", f"The first {len(shown):,} of {len(comparison.differences):,}.")
    if not shown:
        element(body, "p", "Both runs say the same of every image.")
    grid = element(body, "div", class_="samples")
    for each in shown:
        _sample(grid, each, names, pictures.get(each.digest))
    return html(page)


def _summary(body: Element, comparison: Comparison, given: tuple[str, str]) -> None:
    titles = ("", "given as", "network", "computed by", "right", "accuracy", "right alone", "images alone")
    rows = _table(element(body, "div", class_="wide"), *titles)
    for run, letter in enumerate(RUNS):
        about = comparison.about[run]
        row = element(rows, "tr")
        element(row, "th", letter)
        element(row, "td", given[run])
        element(row, "td", f"{about['network']} on {about['dataset']}, {about['split']} split")
        element(row, "td", f"{about['source']} (target {about['target']})")
        correct, labelled = comparison.correct[run], comparison.labelled
        element(row, "td", f"{correct:,} of {labelled:,}", class_="number")
        element(row, "td", f"{100 * correct / labelled:.2f} %" if labelled else "", class_="number")
        element(row, "td", f"{comparison.right_alone[run]:,}", class_="number")
        element(row, "td", f"{comparison.alone[run]:,}", class_="number")
    words = (
        "Right alone: images on which only this run is right. Images alone: those that the other run does "
        f"not have. Each says another wrong class of {comparison.both_wrong:,} images. {comparison.verdict}"
    )
    element(body, "p", words, class_="lead")


def _classes(body: Element, comparison: Comparison, names: Sequence[str]) -> None:
    changed = [each for each in comparison.classes if each.change]
    section = element(body, "section")
    element(section, "h2", "By class")
    text = f"{len(changed)} of {len(comparison.classes)} classes have more or fewer right answers in B."
    element(section, "p", text)
    if not changed:
        return
    rows = _table(
        element(section, "div", class_="wide"), "class", "images", "right in A", "right in B", "change"
    )
    for each in sorted(changed, key=lambda entry: (entry.change, entry.label)):
        row = element(rows, "tr")
        element(row, "td", class_name(each.label, names))
        for number in (each.samples, *each.correct):
            element(row, "td", f"{number:,}", class_="number")
        element(row, "td", f"{each.change:+,}", class_=f"number {'right' if each.change > 0 else 'mistaken'}")


def _sample(grid: Element, each: Difference, names: Sequence[str], picture: npt.NDArray[Any] | None) -> None:
    card = element(grid, "figure", class_="sample")
    label = class_name(each.label, names)
    if picture is None:
        element(card, "div", "no picture", class_="none")
    else:
        element(card, "img", src=data_uri(picture), alt=f"an image of class {label}")
    element(card, "p", f"shows {label}")
    for run, letter in enumerate(RUNS):
        said = each.said[run]
        kind = "" if each.label == UNKNOWN_LABEL else "right" if said == each.label else "mistaken"
        element(card, "p", f"{letter}: {class_name(said, names)}{_scored(each, run, names)}", class_=kind)
    element(card, "p", f"image {each.row} of A, {each.digest:016x}", class_="where")


def _scored(each: Difference, run: int, names: Sequence[str]) -> str:
    """This run's scores of both answers, where it gives scores."""
    scores = each.scores[run]
    if scores is None or not all(0 <= said < len(scores) for said in each.said):
        return ""
    mine, other = each.said[run], each.said[1 - run]
    return f" (score {scores[mine]:,}; {scores[other]:,} for {class_name(other, names)})"


def _table(parent: Element, *titles: str) -> Element:
    table = element(parent, "table")
    row = element(element(table, "thead"), "tr")
    for title in titles:
        element(row, "th", title)
    return element(table, "tbody")
