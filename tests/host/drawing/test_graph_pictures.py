"""Pictures of graphs: geometry, escaping, the same bytes."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labd_host import drawing
from labd_host.drawing.graph_colours import KINDS, style_sheet
from labd_host.drawing.graph_layout import box_lines, gone_text, place, text_width, wire_label
from labd_host.drawing.graph_picture import Box, Gone, GraphPicture, Wire
from labd_host.drawing.graph_svg import draw, graph_svg
from labd_host.drawing.markup import MAX_TEXT, clean, columns, shorten

DRAWING = Path(drawing.__file__).parent

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "desc", "style", "rect", "text", "tspan", "g", "path"}
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'&]]>--><!--<![CDATA[",
    "\x00\x1b[31m\n\r\t\x7f",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil\N{ZERO WIDTH SPACE}",
    "层" * 300,
    "a\N{COMBINING ACUTE ACCENT}" * 5000,
    "\ud800\ufffe",
    "</text></svg><iframe src=//x>",
    "",
)


def picture(count, wires, *, inside=(), gone=(), **texts):
    states = ("kept", "added", "changed")
    boxes = [
        Box(
            f"node_{index}",
            "MatMul" if index % 3 else "ConvolutionInputGenerator_rtl",
            list(KINDS)[index % len(KINDS)],
            lines=("weights 64×64 BINARY",) * (index % 4),
            state=states[index % 3],
            changes=("PE 1 → 16",) * (index % 9),
            output="1×128×12×12 UINT32",
            inside=index in inside,
            proven=index % 2 == 0,
            **texts,
        )
        for index in range(count)
    ]
    return GraphPicture(
        "stage", "a title", "before", tuple(boxes), wires, gone, "on the FPGA" if inside else ""
    )


def chain(count):
    return tuple(Wire(index, index + 1) for index in range(count - 1))


@st.composite
def graphs(draw_):
    """Boxes 0 to n - 1; every one but the first reads some before it, or nothing (a weight)."""
    count = draw_(st.integers(2, 14))
    wires = []
    for target in range(1, count):
        for source in draw_(st.sets(st.integers(0, target - 1), max_size=4)):
            wires.append(Wire(source, target))
    gone = [
        Gone(f"gone_{i}", "Mul", "scale", i % count, "now in it") for i in range(draw_(st.integers(0, 9)))
    ]
    first = draw_(st.integers(0, count - 1))
    inside = range(first, draw_(st.integers(first, count)))
    return picture(count, tuple(wires), inside=inside, gone=tuple(gone))


def crosses(start, end, rect):
    """Does an upright or level line go through the inside of *rect*?"""
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    return left < rect.right and right > rect.left and top < rect.bottom - 0.1 and bottom > rect.top + 0.1


@settings(max_examples=150, deadline=None, derandomize=True)
@given(graphs())
def test_no_box_covers_another_no_wire_crosses_a_box_and_nothing_lies_outside(graph):
    layout = place(graph)
    everything = [*layout.boxes, *layout.gone, *([layout.frame] if layout.frame else [])]
    for rect in everything:
        assert 0 <= rect.left < rect.right <= layout.width and 0 <= rect.top < rect.bottom <= layout.height
    cards = [*layout.boxes, *layout.gone]
    for index, rect in enumerate(cards):
        assert not any(rect.overlaps(other) for other in cards[index + 1 :])
    for wire, route in zip(graph.wires, layout.routes, strict=True):
        source, target = layout.boxes[wire.source], layout.boxes[wire.target]
        assert route[0] == (source.middle, source.bottom)
        assert route[-1][1] == target.top and target.left < route[-1][0] < target.right
        for start, end in zip(route, route[1:], strict=False):
            assert start[0] == end[0] or start[1] == end[1], "upright or level"
            assert end[1] >= start[1], "downwards"
            assert not any(crosses(start, end, rect) for rect in cards)
    if layout.frame:
        for box, rect in zip(graph.boxes, layout.boxes, strict=True):
            assert layout.frame.overlaps(rect) == box.inside


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs())
def test_level_parts_of_wires_from_different_boxes_do_not_lie_on_each_other(graph):
    levels = []
    for wire, route in zip(graph.wires, place(graph).routes, strict=True):
        for start, end in zip(route, route[1:], strict=False):
            if start[1] == end[1]:
                levels.append((wire, start[1], *sorted((start[0], end[0]))))
    for index, (wire, height, left, right) in enumerate(levels):
        for other, there, begin, finish in levels[index + 1 :]:
            assert wire == other or height != there or right <= begin or finish <= left


def test_a_chain_is_one_straight_column():
    layout = place(picture(8, chain(8)))
    assert len({rect.left for rect in layout.boxes}) == len({rect.width for rect in layout.boxes}) == 1
    assert all(len(route) == 2 for route in layout.routes)


def test_a_shortcut_passes_beside_what_it_skips():
    layout = place(picture(5, (*chain(5), Wire(0, 3))))
    lane = max(x for x, _ in layout.routes[-1])
    assert all(lane > rect.right for rect in layout.boxes)


def test_what_only_a_weight_needs_stands_beside_the_reader_s_row():
    graph = picture(5, (Wire(0, 1), Wire(1, 3), Wire(2, 3), Wire(3, 4)))
    boxes = place(graph).boxes
    assert boxes[2].top == boxes[1].top and boxes[2].left > boxes[1].right
    assert boxes[0].left == boxes[1].left == boxes[3].left == boxes[4].left, "a frame's path is straight"


def test_every_text_fits_into_its_box():
    graph = picture(9, chain(9), gone=(Gone("x" * 90, "Y" * 90, "scale", 0, "now in Z"),))
    layout = place(graph)
    for box, rect in zip(graph.boxes, layout.boxes, strict=True):
        said, changes = box_lines(box)
        assert rect.width >= 15 + max(text_width(line, 11) for line in said + changes)
        assert rect.width / 2 >= 7 + text_width(wire_label(box), 11)
    assert all(layout.gone[0].width >= 10 + text_width(line, 11) for line in gone_text(graph.gone[0]))


def test_each_box_is_drawn_once_and_each_wire_has_a_head():
    graph = picture(9, (*chain(9), Wire(0, 4)), gone=(Gone("old", "Mul", "scale", 3),))
    root = ET.fromstring(graph_svg(graph))
    groups = [each for each in root.iter(f"{SVG}g") if "node" in each.get("class", "").split()]
    names = [[text.text for text in group.iter(f"{SVG}text")][-2:] for group in groups]
    assert len(groups) == 9, names
    for box, group in zip(graph.boxes, groups, strict=True):
        texts = [text.text for text in group.iter(f"{SVG}text")]
        assert texts[0] == box.op and box.name in texts
        assert ("new" in texts) == (box.state == "added") and ("changed" in texts) == (box.state == "changed")
    assert len([path for path in root.iter(f"{SVG}path") if path.get("class") == "arrow"]) == 9
    assert len([group for group in root.iter(f"{SVG}g") if "gone" in group.get("class", "").split()]) == 2


def test_a_picture_has_a_title_a_description_and_a_legend_of_the_kinds_it_shows():
    root = ET.fromstring(graph_svg(picture(3, chain(3), gone=(Gone("old", "Mul", "scale", 1),))))
    wanted = root.get("aria-labelledby").split()
    ids = {each.get("id"): each.text for each in root if each.get("id")}
    assert [each.tag for each in root][:3] == [f"{SVG}title", f"{SVG}desc", f"{SVG}style"]
    assert list(ids) == wanted and "node_1 (new)" in ids[wanted[1]] and "Mul old" in ids[wanted[1]]
    legend = next(each for each in root.iter(f"{SVG}g") if each.get("class") == "legend")
    shown = [text.text for text in legend.iter(f"{SVG}text")]
    assert KINDS["product"][0] in shown and KINDS["pool"][0] not in shown and "not there any more" in shown


def test_who_points_at_a_box_reads_everything_a_line_each():
    box = Box(
        "a", "MVAU", "product", changes=tuple(f"change {i}" for i in range(11)), facts=("PE: 1", "x\ny")
    )
    root = ET.fromstring(graph_svg(GraphPicture("s", "t", "b", (box,), ())))
    group = next(each for each in root.iter(f"{SVG}g") if "node" in each.get("class", "").split())
    lines = group.find(f"{SVG}title").text.split("\n")
    assert lines[:3] == ["MVAU", "PE: 1", "x\N{REPLACEMENT CHARACTER}y"] and lines[-1] == "change 10"


def test_a_long_list_of_changes_is_cut_with_a_count():
    box = Box("a", "MVAU", "product", changes=tuple(f"change {i}" for i in range(11)))
    assert box_lines(box)[1] == [*(f"change {i}" for i in range(5)), "and 6 more"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_stays_text_wherever_it_stands(text):
    box = Box(text, text, "other", (text,), "changed", (text,), (text,), text, inside=True)
    graph = GraphPicture(
        "s", text, text, (box, box), (Wire(0, 1),), (Gone(text, text, "other", 0, text),), text
    )
    svg = graph_svg(graph)
    root = ET.fromstring(svg.encode("utf-8"))
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= TAGS
    assert not any(name.startswith("on") or "href" in name for each in root.iter() for name in each.attrib)
    assert len(svg) < 200_000


def test_nothing_comes_from_elsewhere():
    svg = graph_svg(picture(4, chain(4)))
    for words in ("http:", "https:", "url(", "@import", "@font-face", "<script", "<image", "href"):
        assert words not in svg.replace("http://www.w3.org/2000/svg", "")


def test_light_and_dark_name_the_same_colours():
    light, dark = style_sheet().split("@media (prefers-color-scheme: dark) {")
    for kind in KINDS:
        assert f".k-{kind} {{" in light and f".k-{kind} {{" in dark


def test_the_same_picture_gives_the_same_bytes():
    graph = picture(9, (*chain(9), Wire(0, 4), Wire(2, 7)))
    assert graph_svg(graph) == graph_svg(graph)
    assert draw(graph).get("viewBox")


def test_drawing_needs_no_giant():
    names = ", ".join(f"labd_host.drawing.{path.stem}" for path in DRAWING.glob("graph_*.py"))
    script = f"import sys, {names}; print(sorted({{'numpy', 'onnx', 'finn'}} & set(sys.modules)))"
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.stdout == "[]\n", finished.stderr or "drawing/ takes plain data"


def test_text_is_cleaned_and_measured_in_columns():
    assert clean("a\x00b\nc") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
    assert len(clean("x" * (MAX_TEXT + 9))) == MAX_TEXT
    assert columns("层a") == 3 and columns("a\N{COMBINING ACUTE ACCENT}") == 1
    assert shorten("abcdef", 6) == "abcdef" and shorten("abcdefg", 6) == "abcde…"
    assert (
        columns(shorten("层" * 40, 11)) <= 11
        and len(shorten("a" + "\N{COMBINING ACUTE ACCENT}" * 999, 9)) < 30
    )
