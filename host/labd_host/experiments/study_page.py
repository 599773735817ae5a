"""The page of a study: tables, plots, why each experiment is as it is, and how the numbers were made.

One HTML file that loads and runs nothing, which its content security policy forbids as well; beside it the
same as Markdown, without the plots, and all figures as CSV. The same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import to_json
from labd_host.dataflow.parts import part_of
from labd_host.drawing.inline_picture import inlined
from labd_host.drawing.markup import clean, element, html
from labd_host.drawing.page_style import PAGE_STYLE
from labd_host.experiments.explain import explain
from labd_host.experiments.study_model import ExperimentOutcome, Study
from labd_host.experiments.study_plots import Picture, layer_cycles, roofline, speed_over_luts
from labd_host.experiments.study_table import (
    CELLS,
    add_table,
    as_csv,
    as_markdown,
    by_network,
    in_markdown,
)
from labd_host.explore import calibration
from labd_host.explore.bounds import bounds
from labd_host.judge.chains import named_chain
from labd_shared.files import write_text

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
main { max-width: 1180px; }
table { font-size: 13px; }
thead th, thead .number { white-space: pre; vertical-align: bottom; }
th, td { padding: 4px 7px; }
td:nth-child(2) { min-width: 12em; }
h3 { margin: 26px 0 6px; font-size: 17px; overflow-wrap: anywhere; }
section p { max-width: 86ch; margin: 8px 0; }
section ul { padding-left: 22px; max-width: 86ch; }
.note, figcaption { color: var(--soft); font-size: 14px; }
figure { margin: 24px 0; padding: 12px; background: #ffffff; color: #000000; border-radius: 6px; }
figure svg { width: 100%; max-width: 760px; height: auto; }
figcaption { max-width: 86ch; margin: 8px auto 0; color: #444444; }
figcaption strong { color: #000000; }
td:first-child { white-space: nowrap; }
pre { margin: 6px 0; padding: 10px 14px; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px;
  font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
@media print { :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; }
  @page { margin: 14mm; } main { padding: 0; } body { font-size: 10pt; } section { border: 0; padding: 0; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } th, td { padding: 2px 5px; }
  table { font-size: 7.5pt; } td:nth-child(2) { min-width: 9em; } .wide { overflow: visible; }
  figure { padding: 0; } figure svg { max-width: 6.25in; } }
"""


@dataclass(frozen=True)
class Chapter:
    """What is told of one network.

    Attributes:
        network: Its name.
        outcomes: Its experiments.
        pictures: Its plots; none where nothing has a result.
        words: For each outcome its heading, how its folding was asked for, and its paragraphs.
    """

    network: str
    outcomes: list[ExperimentOutcome]
    pictures: list[Picture]
    words: list[tuple[str, str, list[str]]]


def write_page(
    study: Study, outcomes: Sequence[ExperimentOutcome], folder: Path, *, source: str
) -> list[Path]:
    """Write what came of *study* into *folder*: NAME.html, NAME.md and NAME.csv, each whole or not at all.

    Args:
        study: Its name becomes the files'.
        outcomes: Of its experiments.
        source: The study's TOML, "" where it came from options.

    Returns:
        The files, the page first.
    """
    chapters = [_chapter(study, network, group) for network, group in by_network(outcomes).items()]
    texts = {
        "html": page(study, outcomes, chapters, source),
        "md": markdown(study, outcomes, chapters, source),
        "csv": as_csv(outcomes),
    }
    files = []
    for suffix, text in texts.items():
        path = folder / f"{study.name}.{suffix}"
        write_text(path, text)
        files.append(path)
    return files


def _chapter(study: Study, network: str, group: list[ExperimentOutcome]) -> Chapter:
    design = named_chain(network)
    several = len({outcome.experiment.clock_mhz for outcome in group}) > 1
    words = []
    for outcome in group:
        experiment = outcome.experiment
        clock = f" at {experiment.clock_mhz:g} MHz" if several else ""
        question = study.questions.get(experiment.name, "")
        heading = f"{experiment.name}{clock}{question and ': '}{question}"
        words.append((heading, f"Folding: {experiment.folding}.", _words(study, outcome, group, design)))
    return Chapter(network, group, _pictures(network, group, design), words)


def _words(
    study: Study, outcome: ExperimentOutcome, group: Sequence[ExperimentOutcome], design: FoldedChain
) -> list[str]:
    if outcome.result is None:
        return [outcome.fault or "There is no result yet."]
    return explain(outcome, _baseline(study, outcome, group), design)


def _baseline(
    study: Study, outcome: ExperimentOutcome, group: Sequence[ExperimentOutcome]
) -> ExperimentOutcome | None:
    """What *outcome* is compared with: the baseline at the same clock."""
    clock = outcome.experiment.clock_mhz
    return next(
        (
            each
            for each in group
            if each.experiment.name == study.baseline and each.experiment.clock_mhz == clock
        ),
        None,
    )


def _pictures(network: str, group: Sequence[ExperimentOutcome], design: FoldedChain) -> list[Picture]:
    known = [outcome for outcome in group if outcome.result is not None]
    if not known:
        return []
    limits = bounds(design, part_of(known[0].experiment.part))
    clocks = sorted({outcome.experiment.clock_mhz for outcome in known})
    at_clock = [[each for each in known if each.experiment.clock_mhz == clock] for clock in clocks]
    return [
        speed_over_luts(network, known, limits),
        *(roofline(network, each, limits) for each in at_clock),
        layer_cycles(network, known),
    ]


# --- the page


def page(
    study: Study, outcomes: Sequence[ExperimentOutcome], chapters: Sequence[Chapter], source: str
) -> str:
    """The study as HTML."""
    root = element(None, "html", lang="en")
    head = element(root, "head")
    element(head, "meta", charset="utf-8")
    element(head, "meta", http_equiv="Content-Security-Policy", content=POLICY)
    element(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    element(head, "title", study.title)
    style = element(head, "style")
    style.text = PAGE_STYLE + STYLE
    body = element(element(root, "body"), "main")
    element(body, "h1", study.title)
    element(body, "p", asked(study, outcomes), class_="lead")
    for number, chapter in enumerate(chapters):
        _add_chapter(body, chapter, number)
    made = element(body, "section", id="made")
    element(made, "h2", "How these numbers were made")
    listed = element(made, "ul")
    for sentence in how(outcomes):
        element(listed, "li", sentence)
    if source:
        again = element(body, "section", id="again")
        element(again, "h2", "The study, to do it again")
        element(again, "p", f"As a file {study.name}.toml: labd experiments {study.name}.toml")
        _preformatted(again, source)
    return html(root)


def _add_chapter(body: Element, chapter: Chapter, number: int) -> None:
    section = element(body, "section", id=f"network-{number}")
    element(section, "h2", chapter.network)
    add_table(section, chapter.outcomes)
    element(section, "p", f"{CELLS}.", class_="note")
    for at, picture in enumerate(chapter.pictures):
        figure = element(section, "figure")
        figure.append(inlined(picture.svg, f"p{number}-{at}", picture.alternative))
        caption = element(figure, "figcaption")
        element(caption, "strong", f"{picture.title}.").tail = f" {clean(picture.words)}"
    for outcome, (heading, folding, paragraphs) in zip(chapter.outcomes, chapter.words, strict=True):
        element(section, "h3", heading)
        element(section, "p", folding, class_="note")
        for paragraph in paragraphs:
            element(section, "p", paragraph)
        if outcome.result is not None:
            _add_folding(section, outcome)


def _add_folding(section: Element, outcome: ExperimentOutcome) -> None:
    experiment = outcome.experiment
    details = element(section, "details")
    element(details, "summary", f"The folding of {experiment.name}, as FINN's JSON")
    file = f"{experiment.name}.json"
    element(details, "p", f"As a file {file}: labd compile {experiment.network} --folding {file} -o DIR")
    _preformatted(details, to_json(experiment.settings))


def _preformatted(parent: Element, text: str) -> None:
    """*text* with its lines, each cleaned like any other text."""
    block = element(parent, "pre")
    for line in text.expandtabs(4).splitlines():
        element(block, "code", line).tail = "\n"


# --- Markdown


def markdown(
    study: Study, outcomes: Sequence[ExperimentOutcome], chapters: Sequence[Chapter], source: str
) -> str:
    """The study as Markdown: all but the plots."""
    lines = [f"# {in_markdown(study.title)}", "", in_markdown(asked(study, outcomes)), ""]
    for chapter in chapters:
        lines += [f"## {in_markdown(chapter.network)}", "", as_markdown(chapter.outcomes), f"{CELLS}.", ""]
        for heading, folding, paragraphs in chapter.words:
            lines += [f"### {in_markdown(heading)}", ""]
            for paragraph in (folding, *paragraphs):
                lines += [in_markdown(paragraph), ""]
    lines += ["## How these numbers were made", ""]
    lines += [f"- {in_markdown(sentence)}" for sentence in how(outcomes)]
    if source:
        lines += ["", "## The study, to do it again", ""]
        lines += [f"    {clean(line)}" for line in source.expandtabs(4).splitlines()]
    return "\n".join(lines) + "\n"


# --- words of both


def asked(study: Study, outcomes: Sequence[ExperimentOutcome]) -> str:
    """What the study is about, and how much of it is known."""
    parts = sorted({outcome.experiment.part for outcome in outcomes})
    clocks = [f"{clock:g} MHz" for clock in sorted({outcome.experiment.clock_mhz for outcome in outcomes})]
    names = list(by_network(outcomes))
    done = sum(outcome.result is not None for outcome in outcomes)
    failed = sum(outcome.result is None and bool(outcome.fault) for outcome in outcomes)
    words = (
        f"{len(outcomes)} foldings of {', '.join(names)} at {', '.join(clocks)} on the {', '.join(parts)}: how "
        f"fast they are, what they cost, and why."
    )
    if study.baseline:
        words += f" Each is compared with {study.baseline}."
    if done < len(outcomes):
        waiting = len(outcomes) - done - failed
        words += f" {done} have a result, {failed} failed" + (f", {waiting} wait." if waiting else ".")
    return words


def how(outcomes: Sequence[ExperimentOutcome]) -> list[str]:
    """Where the figures come from, and what none of them was."""
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    frames = sorted({outcome.experiment.frames for outcome in outcomes})
    mine = len(calibration.load().reports)
    fitted = (
        f"fitted to {mine} of your own builds" if mine else "fitted to five public builds, as labd ships it"
    )
    sentences = [
        "Predicted: FINN's own cycles of every layer, and what it leaves out: the restart of HLS units, the width "
        "converters and the DMAs. The slowest stage sets the rate (labd estimate).",
        f"Simulated: every stage, FIFO and DMA cycle by cycle, for {' or '.join(map(str, frames))} frames, with "
        "FIFOs as deep as FINN makes them (labd simulate). Latency is the first frame's. Where it differs from "
        "the prediction, the simulation is right: it knows how neighbours disturb each other.",
        f"LUT, FF and BRAM18: the cost model of labd explore, {fitted}; ± is the error to expect of it. "
        f"Nothing was synthesised{' but for the builds named' if any(each.built for each in results) else ''}.",
    ]
    sentences += _measured(outcomes)
    sentences += _accuracies(outcomes)
    sentences += [f"Made by {origin}." for origin in sorted({each.origin for each in results})]
    return sentences


def _measured(outcomes: Sequence[ExperimentOutcome]) -> list[str]:
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    places = sorted({each.measured.where for each in results if each.measured is not None})
    if not places:
        return ["Measured: nothing. No board took part; the waits of the DMA for memory are in no figure."]
    sentences = [f"Measured: on {', '.join(places)}."]
    if any("virtual" in place for place in places):
        sentences.append(
            "A virtual board tells time by the cycle model: its figures are no proof of the model."
        )
    return sentences


def _accuracies(outcomes: Sequence[ExperimentOutcome]) -> list[str]:
    found = {
        outcome.experiment.network: outcome.result.accuracy
        for outcome in outcomes
        if outcome.result is not None and outcome.result.accuracy is not None
    }
    return [
        f"Accuracy of {network}: {each.correct:,} of {each.images:,} images of {each.dataset}'s test split, "
        f"{each.source}. No folding changes it."
        for network, each in found.items()
    ]
