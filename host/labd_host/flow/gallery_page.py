"""The gallery: one page that shows every stage of a compilation and why to believe it.

The page is a file of its own: pictures and styles are in it, it loads nothing and runs nothing, and
its content security policy forbids both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.etree.ElementTree import Element

from labd_host.drawing.graph_colours import style_sheet
from labd_host.drawing.graph_picture import GraphPicture
from labd_host.drawing.graph_svg import draw
from labd_host.drawing.markup import clean, element, html
from labd_host.drawing.page_style import PAGE_STYLE
from labd_host.flow.explanations import explanation, operator
from labd_shared.rates import frames_per_s

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
KINDS = {
    "levels": "activations after quantising",
    "sums": "integer sums before it",
    "label": "the class",
}


@dataclass(frozen=True)
class ComparedRow:
    """One tensor of a proof: its kind, the node in the stage and in the one before, values a frame."""

    kind: str
    layer: str
    layer_before: str
    values: int


@dataclass(frozen=True)
class ProofShown:
    """The proof of a stage.

    Attributes:
        against: The stage before, "" for the first.
        images, tensors, values: How much was compared; the values over all images.
        mismatches: How many of them differ.
        compared: The tensors.
        notes: What else is to be known, a sentence each.
        missing: Why nothing was compared; "" where it was.
    """

    against: str
    images: int
    tensors: int
    values: int
    mismatches: int
    compared: tuple[ComparedRow, ...]
    notes: tuple[str, ...]
    missing: str


@dataclass(frozen=True)
class StageShown:
    """One stage on the page.

    Attributes:
        name, title: As in `labd_host.flow.stages`.
        picture: Its graph, or None (the golden model has no graph of its own).
        nodes: Operations in it.
        proof: Against the stage before.
        steps: The transformations it was made with.
        files: Names in the page's folder, the graph first.
        sha256: Of the first file.
    """

    name: str
    title: str
    picture: GraphPicture | None
    nodes: int
    proof: ProofShown
    steps: tuple[str, ...]
    files: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class CycleRow:
    """Cycles of one node for one frame; *finn_cycles* is FINN's own estimate, which knows no DMA."""

    name: str
    op: str
    fold: Mapping[str, int]
    cycles: int
    finn_cycles: int | None


@dataclass(frozen=True)
class Gallery:
    """What the page shows.

    Attributes:
        network: Its name.
        stages: In their order.
        cycles: Every node of the pipeline, DMAs included.
        bottleneck: The slowest.
        latency_cycles: At most, for the first frame.
        clock_mhz, frames_per_s: The rate of the cycle model at that clock.
        more_files: Files of no single stage.
        tools: Distribution -> version.
    """

    network: str
    stages: tuple[StageShown, ...]
    cycles: tuple[CycleRow, ...]
    bottleneck: str
    latency_cycles: int
    clock_mhz: float
    frames_per_s: float
    more_files: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)


def gallery_html(gallery: Gallery) -> str:
    """The page."""
    page = element(None, "html", lang="en")
    head = element(page, "head")
    element(head, "meta", charset="utf-8")
    element(head, "meta", http_equiv="Content-Security-Policy", content=POLICY)
    element(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    element(head, "title", f"{gallery.network}: the stages")
    style = element(head, "style")
    style.text = PAGE_STYLE + style_sheet()
    body = element(element(page, "body"), "main")
    _opening(body, gallery)
    for number, stage in enumerate(gallery.stages, start=1):
        _stage(body, number, stage)
    _cycles(body, gallery)
    _operators(body, gallery)
    _files(body, gallery)
    return html(page)


def _opening(body: Element, gallery: Gallery) -> None:
    element(body, "h1", gallery.network)
    proofs = [stage.proof for stage in gallery.stages if stage.proof.against]
    values, wrong = sum(proof.values for proof in proofs), sum(proof.mismatches for proof in proofs)
    images = gallery.stages[0].proof.images
    element(
        body,
        "p",
        f"From the exported network to the graph that becomes hardware, in {len(gallery.stages)} stages. Each one "
        f"was run on {images} images and compared with the one before it: {values:,} values in all, "
        f"{wrong:,} of them differ.",
        class_="lead",
    )
    element(
        body,
        "p",
        "Compared is what means the same in both stages: what each quantiser gives, counted from its lowest level; "
        "the integer sums of each matrix product, scales divided out (streamlining may turn the sign of a whole "
        "channel, weights and thresholds together); and the class. A stage that differed in a single value would "
        "have ended the compilation, unless its check was ignored: then it says so.",
        class_="lead",
    )
    rows = _table(body, "stage", "what it does", "compared with", "nodes", "tensors", "values", "differ")
    for number, stage in enumerate(gallery.stages, start=1):
        row = element(rows, "tr")
        link = element(element(row, "td"), "a", f"{number} {stage.name}", href=f"#stage-{number}")
        link.set("class", "stage-link")
        element(row, "td", stage.title)
        proof = stage.proof
        element(row, "td", f"not made ({proof.against})" if proof.missing else proof.against)
        shown = (f"{proof.tensors:,}", f"{proof.values:,}", f"{proof.mismatches:,}")
        for text in (f"{stage.nodes:,}", *(shown if proof.against and not proof.missing else ("",) * 3)):
            element(row, "td", text, class_="number")


def _stage(body: Element, number: int, stage: StageShown) -> None:
    section = element(body, "section", id=f"stage-{number}", class_="stage")
    words = element(section, "div", class_="words")
    element(words, "h2", f"{number} {stage.name}")
    element(words, "p", explanation(stage.name) or f"{stage.title}.")
    _proof(words, stage.proof)
    if stage.picture is not None and stage.picture.before:
        element(words, "p", f"Operations {stage.picture.summary}.", class_="change")
    if stage.steps:
        more = element(words, "details")
        count = len(stage.steps)
        element(more, "summary", f"{count} transformation{'s' * (count > 1)}, in this order")
        listed = element(more, "ol")
        for step in stage.steps:
            module, _, name = step.rpartition(":")
            element(element(listed, "li"), "code", name, title=module)
    files = element(words, "p", class_="files")
    for name in stage.files:
        _link(files, name)
    if stage.picture is not None:
        figure = element(section, "figure")
        figure.append(draw(stage.picture))


def _proof(words: Element, proof: ProofShown) -> None:
    if not proof.against:
        text = f"The stage that all others are measured by, run on {proof.images} images."
        element(words, "p", text, class_="proof first")
        return
    if proof.missing:
        box = element(words, "div", class_="proof wrong")
        element(box, "strong", "not compared")
        element(box, "p", f"The comparison with {proof.against} was not made: {proof.missing}")
        return
    state = "proof wrong" if proof.mismatches else "proof equal"
    box = element(words, "div", class_=state)
    element(box, "strong", "differs" if proof.mismatches else "equal")
    element(
        box,
        "p",
        f"{proof.images} images, {proof.tensors} tensors of each, {proof.values:,} values compared with stage "
        f"{proof.against}: {proof.mismatches:,} differ.",
    )
    for note in proof.notes:
        element(box, "p", note)
    more = element(box, "details")
    element(more, "summary", "what was compared")
    rows = _table(more, "what", "here", f"in {proof.against}", "values")
    for entry in proof.compared:
        row = element(rows, "tr")
        for text in (KINDS.get(entry.kind, entry.kind), entry.layer, entry.layer_before):
            element(row, "td", text)
        element(row, "td", f"{entry.values:,}", class_="number")


def _cycles(body: Element, gallery: Gallery) -> None:
    section = element(body, "section", id="cycles")
    element(section, "h2", "Cycles a frame")
    slowest = max(row.cycles for row in gallery.cycles)
    element(
        section,
        "p",
        f"The nodes work side by side, each on another frame, so the slowest sets the rate: {gallery.bottleneck} with "
        f"{slowest:,} cycles a frame, {gallery.frames_per_s:,.0f} frames/s at {gallery.clock_mhz:g} MHz. The first "
        f"frame takes at most {gallery.latency_cycles:,} cycles. This is the cycle model, not a measurement.",
    )
    layers = [row for row in gallery.cycles if row.op != "IODMA"]
    busiest = max(layers, key=lambda row: row.cycles)
    if busiest.name != gallery.bottleneck:
        rate = frames_per_s(gallery.clock_mhz, busiest.cycles)
        element(
            section,
            "p",
            f"The DMA is the ceiling: the layers alone would reach {rate:,.0f} frames/s ({busiest.name}, "
            f"{busiest.cycles:,} cycles), and no folding moves the DMA.",
            class_="change",
        )
    rows = _table(section, "node", "PE", "SIMD", "cycles", "FINN's estimate", "")
    for row in gallery.cycles:
        line = element(rows, "tr", class_="slowest" if row.name == gallery.bottleneck else "node")
        element(line, "td", row.name)
        for text in (
            str(row.fold.get("PE", "")),
            str(row.fold.get("SIMD", "")),
            f"{row.cycles:,}",
            "" if row.finn_cycles is None else f"{row.finn_cycles:,}",
        ):
            element(line, "td", text, class_="number")
        bar = element(line, "td", class_="bar")
        element(bar, "meter", min=0, max=slowest, value=row.cycles, title=f"{row.cycles:,} of {slowest:,}")
        if row.name == gallery.bottleneck:
            element(bar, "span", "slowest")


def _operators(body: Element, gallery: Gallery) -> None:
    pictures = [stage.picture for stage in gallery.stages if stage.picture is not None]
    ops = dict.fromkeys(box.op for picture in pictures for box in picture.boxes)
    known = [(op, operator(op)) for op in ops if operator(op)]
    if known:
        section = element(body, "section", id="operators")
        element(section, "h2", "The operators")
        listed = element(section, "dl")
        for op, said in known:
            element(listed, "dt", op)
            element(listed, "dd", said)


def _files(body: Element, gallery: Gallery) -> None:
    section = element(body, "section", id="files")
    element(section, "h2", "Files")
    rows = _table(section, "stage", "file", "sha256")
    for stage in gallery.stages:
        row = element(rows, "tr")
        element(row, "td", stage.name)
        _link(element(row, "td"), stage.files[0])
        element(element(row, "td", class_="hash"), "code", stage.sha256)
    for name in gallery.more_files:
        row = element(rows, "tr")
        element(row, "td")
        _link(element(row, "td"), name)
        element(row, "td")
    tools = ", ".join(f"{name} {version}" for name, version in gallery.tools.items())
    element(section, "p", f"Made with {tools}.", class_="tools")


def _link(parent: Element, name: str) -> None:
    """To a file beside the page; no name is an address with a scheme."""
    element(parent, "a", name, href=quote(clean(name)))


def _table(parent: Element, *titles: str) -> Element:
    """A table with a head; its body."""
    table = element(element(parent, "div", class_="wide"), "table")
    row = element(element(table, "thead"), "tr")
    for title in titles:
        element(row, "th", title, scope="col")
    return element(table, "tbody")
