"""A picture of a stage's graph as SVG: one file, no font, script or image from elsewhere.

The same picture gives the same bytes.
"""

from xml.etree.ElementTree import Element

from labd_host.drawing.graph_colours import KINDS, style_sheet
from labd_host.drawing.graph_layout import (
    LINE,
    MARGIN,
    MAX_LETTERS,
    PADDING,
    PROVEN,
    TEXT_SIZE,
    Layout,
    Rectangle,
    box_lines,
    gone_text,
    place,
    text_width,
)
from labd_host.drawing.graph_picture import ADDED, CHANGED, Box, Gone, GraphPicture
from labd_host.drawing.markup import element, shorten, xml

HEADING = 50
LEGEND_LINE = 20
BADGES = {ADDED: "new", CHANGED: "changed"}
MIN_PICTURE = 460


def graph_svg(picture: GraphPicture) -> str:
    """*picture* as the text of an SVG file."""
    root = draw(picture)
    style = Element("style")
    style.text = style_sheet()
    root.insert(2, style)
    return xml(root)


def draw(picture: GraphPicture) -> Element:
    """*picture* as an ``svg`` element; who puts it into a page brings `graph_colours.style_sheet`."""
    layout = place(picture)
    heading = shorten(f"{picture.stage}: {picture.title}", 90)
    width = max(layout.width, MIN_PICTURE, text_width(heading, 15) + 2 * MARGIN)
    legend = _legend_places(picture, width)
    height = HEADING + layout.height + legend[-1][2] + LEGEND_LINE + MARGIN / 2
    root = element(
        None,
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        class_="labd-graph",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_labelledby=f"title-{picture.stage} description-{picture.stage}",
    )
    element(root, "title", f"The graph of stage {picture.stage}", id=f"title-{picture.stage}")
    element(root, "desc", _description(picture), id=f"description-{picture.stage}")
    element(root, "rect", class_="paper", width=f"{width:.0f}", height=f"{height:.0f}")
    element(root, "text", heading, class_="heading", x=MARGIN, y=28)
    element(root, "text", shorten(picture.summary, 90), class_="quiet", x=MARGIN, y=46)
    body = element(root, "g", transform=f"translate(0 {HEADING})")
    if layout.frame is not None:
        _draw_frame(body, layout.frame, picture.frame, layout.boxes[0].middle + 8)
    for route in layout.routes:
        _draw_route(body, route)
    _draw_labels(body, picture, layout)
    for box, rect in zip(picture.boxes, layout.boxes, strict=True):
        _draw_box(body, box, rect)
    if picture.gone:
        side = layout.gone[0].left
        element(body, "text", "not there any more", class_="gone-heading", x=side, y=MARGIN + 8)
        for gone, rect in zip(picture.gone, layout.gone, strict=True):
            _draw_gone(body, gone, rect)
    _draw_legend(root, legend, HEADING + layout.height)
    return root


def _description(picture: GraphPicture) -> str:
    """The picture in words, for who does not see it."""
    boxes = [
        f"{box.op} {box.name}".strip() + (f" ({BADGES[box.state]})" if box.state in BADGES else "")
        for box in picture.boxes
    ]
    said = f"{picture.title}; {picture.summary}. From top to bottom: {', '.join(boxes)}."
    if picture.gone:
        said += (
            f" Not there any more: {', '.join(f'{gone.op} {gone.name}'.strip() for gone in picture.gone)}."
        )
    return said


def _draw_frame(parent: Element, frame: Rectangle, name: str, left: float) -> None:
    """The frame; its name stands to the right of the wire that enters it."""
    element(
        parent,
        "rect",
        class_="frame",
        x=frame.left,
        y=frame.top,
        width=frame.width,
        height=frame.height,
        rx=10,
    )
    element(parent, "text", shorten(name, MAX_LETTERS), class_="frame-text", x=left, y=frame.top - 6)


def _draw_route(parent: Element, route: tuple[tuple[float, float], ...]) -> None:
    """A line with an arrow head; the line ends where the head begins."""
    *corners, (x, y) = route
    points = [*corners, (x, y - 6)]
    path = "M" + " L".join(f"{left:.1f} {top:.1f}" for left, top in points)
    element(parent, "path", class_="wire", d=path)
    head = f"M{x:.1f} {y:.1f} L{x - 4:.1f} {y - 7:.1f} L{x + 4:.1f} {y - 7:.1f} Z"
    element(parent, "path", class_="arrow", d=head)


def _draw_labels(parent: Element, picture: GraphPicture, layout: Layout) -> None:
    """Shape and datatype beside the wire that leaves a box, once a box."""
    for index in sorted({wire.source for wire in picture.wires}):
        box, rect = picture.boxes[index], layout.boxes[index]
        if box.output:
            at = {"x": rect.middle + 7, "y": rect.bottom + 14}
            label = element(parent, "text", shorten(box.output, MAX_LETTERS), class_="quiet", **at)
            if box.proven:
                element(label, "tspan", PROVEN, class_="proven")


def _draw_box(parent: Element, box: Box, rect: Rectangle) -> None:
    group = element(parent, "g", class_=f"node k-{box.kind} {box.state}")
    element(group, "title").text = "\n".join(
        shorten(fact, 200) for fact in (box.op, *box.facts, *box.changes)
    )
    element(group, "rect", class_="box", x=rect.left, y=rect.top, width=rect.width, height=rect.height, rx=5)
    element(
        group,
        "rect",
        class_="stripe",
        x=rect.left,
        y=rect.top + 5,
        width=5,
        height=rect.height - 10,
    )
    left, y = rect.left + PADDING + 5, rect.top + PADDING + 9
    element(group, "text", shorten(box.op, MAX_LETTERS), class_="op", x=left, y=y)
    if box.state in BADGES:
        text, right = BADGES[box.state], rect.right - 8
        width = text_width(text, TEXT_SIZE) + 10
        element(group, "rect", class_="badge", x=right - width, y=rect.top + 7, width=width, height=16, rx=8)
        element(
            group,
            "text",
            text,
            class_="badge-text",
            x=right - width / 2,
            y=rect.top + 19,
            text_anchor="middle",
        )
    said, changes = box_lines(box)
    for index, line in enumerate(said):
        y += LINE
        last = box.slowest and index == len(said) - 1
        element(
            group,
            "text",
            line,
            class_="slowest" if last else "quiet" if index == 0 and box.name else "said",
            x=left,
            y=y,
        )
    for line in changes:
        y += LINE
        element(group, "text", line, class_="change", x=left, y=y)


def _draw_gone(parent: Element, gone: Gone, rect: Rectangle) -> None:
    op, below = gone_text(gone)
    group = element(parent, "g", class_=f"gone k-{gone.kind}")
    element(group, "title", f"{shorten(gone.op, 200)}, {shorten(gone.name, 200)} {gone.into}".strip())
    element(group, "rect", class_="box", x=rect.left, y=rect.top, width=rect.width, height=rect.height, rx=5)
    element(group, "text", op, class_="op", x=rect.left + PADDING, y=rect.top + 17)
    element(group, "text", below, class_="quiet", x=rect.left + PADDING, y=rect.top + 32)


_Entry = tuple[str, float, float]  # the class of its swatch, left, top


def _legend_places(picture: GraphPicture, width: float) -> list[tuple[str, float, float]]:
    """The entries of the legend, in as many lines as the picture's width needs."""
    kinds = {box.kind for box in picture.boxes} | {gone.kind for gone in picture.gone}
    wanted = [f"k-{kind}" for kind in KINDS if kind in kinds]
    wanted += [state for state in BADGES if any(box.state == state for box in picture.boxes)]
    wanted += ["gone"] if picture.gone else []
    wanted += ["proven"] if any(box.proven for box in picture.boxes) else []
    entries, left, top = [], float(MARGIN), 0.0
    for name in wanted:
        needed = 22 + text_width(_legend_text(name), TEXT_SIZE) + 18
        if left + needed > width and left > MARGIN:
            left, top = float(MARGIN), top + LEGEND_LINE
        entries.append((name, left, top))
        left += needed
    return entries


def _legend_text(name: str) -> str:
    marks = {
        ADDED: "new in this stage",
        CHANGED: "changed in this stage",
        "gone": "not there any more",
        "proven": "compared with the stage before, value by value",
    }
    return marks.get(name) or KINDS[name.removeprefix("k-")][0]


def _draw_legend(parent: Element, entries: list[_Entry], top: float) -> None:
    group = element(parent, "g", class_="legend", transform=f"translate(0 {top:.1f})")
    for name, left, y in entries:
        if name == "proven":
            element(group, "text", "✓", class_="proven", x=left + 3, y=y + 10)
            element(group, "text", _legend_text(name), x=left + 22, y=y + 10)
            continue
        entry = element(group, "g", class_=name if name.startswith("k-") else f"k-other {name}")
        element(entry, "rect", class_="box", x=left, y=y, width=14, height=12, rx=2)
        if name.startswith("k-"):
            element(entry, "rect", class_="stripe", x=left, y=y, width=5, height=12)
        element(entry, "text", _legend_text(name), x=left + 22, y=y + 10)
