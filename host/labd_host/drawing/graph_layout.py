"""Where the boxes and wires of a picture go: rows from top to bottom, columns from left to right.

A box's row is its longest path from the network's input (or, for what does not depend on the input,
just above the box that reads it). The longest path is column 0, everything else takes the first
free column to its right, and so does a wire that passes rows: it reserves a cell in each of them.
So nothing can overlap: a cell has one owner, and all that runs sideways does so between two rows,
each wire at a height of its own.
"""

from dataclasses import dataclass

from labd_host.drawing.graph_picture import Box, Gone, GraphPicture
from labd_host.drawing.markup import columns, shorten

LETTER = 0.62  # width of a monospaced letter as a part of its size, with some to spare
TITLE_SIZE, TEXT_SIZE = 13, 11
LINE = 15  # height of a line of text
PADDING = 10
BADGE = 62  # width of the mark of a new or changed box
MAX_LETTERS = 46  # of a line
MAX_CHANGES = 6  # lines
MIN_WIDTH = 210
MIN_GONE_WIDTH = 150
GAP = 34  # between rows, with room for the label of a wire
TRACK = 9  # for each wire that runs sideways
FRAME_ROOM = 30  # for the frame's edge and its name
FRAME_MARGIN = 14
FRAME_BELOW = 24  # the label of the wire that leaves stays inside
COLUMN_GAP = 36
MARGIN = 26
GONE_HEIGHT = 40
GONE_GAP = 7
PORT = 18
PROVEN = "  ✓ equal"


@dataclass(frozen=True)
class Rectangle:
    """A place in the picture, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    @property
    def middle(self) -> float:
        """Between left and right."""
        return self.left + self.width / 2

    def overlaps(self, other: "Rectangle") -> bool:
        """Do the two share a point that is not on an edge?"""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(frozen=True)
class Layout:
    """A picture with a place for everything.

    Attributes:
        boxes: Of each box of the picture.
        routes: Of each wire: the corners it goes through.
        gone: Of each operation that is gone, in a column of their own.
        frame: Of the frame, where there is one.
        width, height: Of the whole, legend and heading not counted.
    """

    boxes: tuple[Rectangle, ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    gone: tuple[Rectangle, ...]
    frame: Rectangle | None
    width: float
    height: float


def text_width(text: str, size: float) -> float:
    """Pixels that *text* takes at most."""
    return columns(text) * size * LETTER


def box_lines(box: Box) -> tuple[list[str], list[str]]:
    """What a box says below its title, shortened: name and parameters, and what changed."""
    changes = list(box.changes)
    if len(changes) > MAX_CHANGES:
        changes[MAX_CHANGES - 1 :] = [f"and {len(changes) - MAX_CHANGES + 1} more"]
    said = ([box.name] if box.name else []) + list(box.lines)
    return [shorten(line, MAX_LETTERS) for line in said], [shorten(line, MAX_LETTERS) for line in changes]


def wire_label(box: Box) -> str:
    """What stands beside the wire that leaves a box."""
    return shorten(box.output, MAX_LETTERS) + (PROVEN if box.proven else "")


def gone_text(gone: Gone) -> tuple[str, str]:
    """The two lines of an operation that is gone."""
    below = f"{gone.name}, {gone.into}" if gone.into else gone.name
    return shorten(gone.op, MAX_LETTERS), shorten(below, MAX_LETTERS)


def place(picture: GraphPicture) -> Layout:
    """A place for everything in *picture*."""
    grid = _Grid(picture)
    return grid.layout()


class _Grid:
    """Rows and columns, then pixels."""

    def __init__(self, picture: GraphPicture) -> None:
        self._picture = picture
        self._rows = _rows(picture)
        self._taken: set[tuple[int, int]] = set()
        self._columns = self._box_columns()
        self._lanes = [self._lane(wire.source, wire.target) for wire in picture.wires]
        self._tracks = [0] * (max(self._rows, default=0) + 1)

    def _box_columns(self) -> list[int]:
        """A column for every box: the longest path first, then whatever is free."""
        main = _main_path(self._picture, self._rows)
        found = [0] * len(self._rows)
        self._taken.update((self._rows[box], 0) for box in main)
        for box, row in enumerate(self._rows):
            if box not in main:
                found[box] = self._free(1, [row])
                self._taken.add((row, found[box]))
        return found

    def _free(self, first: int, rows: list[int]) -> int:
        column = first
        while any((row, column) in self._taken for row in rows):
            column += 1
        return column

    def _lane(self, source: int, target: int) -> int:
        """The column in which a wire passes the rows between its ends."""
        between = list(range(self._rows[source] + 1, self._rows[target]))
        ends = (self._columns[target], self._columns[source])
        for column in ends:
            if not any((row, column) in self._taken for row in between):
                break
        else:
            column = self._free(1, between)
        self._taken.update((row, column) for row in between)
        return column

    def layout(self) -> Layout:
        sizes = [_size(box) for box in self._picture.boxes]
        centres, widths, right = self._across(sizes)
        corners = [self._corners(index, centres, widths) for index in range(len(self._lanes))]
        tops, heights, gaps = self._down(sizes)
        boxes = tuple(
            Rectangle(centres[column] - widths[column] / 2, tops[row], widths[column], size[1])
            for row, column, size in zip(self._rows, self._columns, sizes, strict=True)
        )
        routes = tuple(self._route(index, corner, boxes, gaps) for index, corner in enumerate(corners))
        frame = self._frame(boxes)
        bottom = max((box.bottom for box in boxes), default=0.0)
        gone, gone_right = self._gone(boxes, right)
        if gone:
            bottom = max(bottom, gone[-1].bottom)
            right = gone_right
        return Layout(boxes, routes, gone, frame, right + MARGIN, bottom + MARGIN)

    def _across(self, sizes: list[tuple[float, float]]) -> tuple[list[float], list[float], float]:
        """Centre and box width of every column, and where the last one ends."""
        used = [self._columns[0:], self._lanes]
        count = max((column for group in used for column in group), default=0) + 1
        boxes, room = [0.0] * count, [30.0] * count
        for column, size in zip(self._columns, sizes, strict=True):
            boxes[column] = max(boxes[column], size[0])
            room[column] = max(room[column], size[0])
        centres, left = [], float(MARGIN)
        for width in room:
            centres.append(left + width / 2)
            left += width + COLUMN_GAP
        return centres, boxes, left - COLUMN_GAP

    def _corners(
        self, index: int, centres: list[float], widths: list[float]
    ) -> tuple[float, float, float, int, int]:
        """Where wire *index* leaves, passes and arrives (x), and its tracks in the first and last gap."""
        wire = self._picture.wires[index]
        leaves, passes = centres[self._columns[wire.source]], centres[self._lanes[index]]
        column = self._columns[wire.target]
        aside = [
            other
            for other, each in enumerate(self._picture.wires)
            if each.target == wire.target and self._from(other) != column
        ]
        arrives = centres[column]
        if index in aside:
            step = min(PORT, (widths[column] / 2 - 12) / len(aside))
            arrives += (aside.index(index) + 1) * step * (1 if self._from(index) > column else -1)
        first, last = self._rows[wire.source], self._rows[wire.target] - 1
        if first == last:
            passes = arrives
        return leaves, passes, arrives, self._track(first, leaves, passes), self._track(last, passes, arrives)

    def _from(self, index: int) -> int:
        """The column from which wire *index* comes to its target."""
        wire = self._picture.wires[index]
        adjacent = self._rows[wire.source] + 1 == self._rows[wire.target]
        return self._columns[wire.source] if adjacent else self._lanes[index]

    def _track(self, gap: int, start: float, end: float) -> int:
        """A height of its own for what runs sideways in *gap*; -1 for what runs straight."""
        if abs(start - end) < 0.5:
            return -1
        self._tracks[gap] += 1
        return self._tracks[gap] - 1

    def _down(self, sizes: list[tuple[float, float]]) -> tuple[list[float], list[float], list[float]]:
        """Top and height of every row, and where the tracks of the gap below it begin."""
        heights = [0.0] * len(self._tracks)
        for row, size in zip(self._rows, sizes, strict=True):
            heights[row] = max(heights[row], size[1])
        edges = self._frame_rows()
        tops, gaps, top = [], [], float(MARGIN)
        for row, height in enumerate(heights):
            top += FRAME_ROOM if edges and row == edges[0] else 0
            tops.append(top)
            below = top + height + GAP - 14
            below += FRAME_BELOW - 10 if edges and row == edges[1] else 0
            gaps.append(below)
            top = below + 14 + TRACK * self._tracks[row]
        return tops, heights, gaps

    def _frame_rows(self) -> tuple[int, int] | None:
        rows = [row for row, box in zip(self._rows, self._picture.boxes, strict=True) if box.inside]
        return (min(rows), max(rows)) if rows and self._picture.frame else None

    def _route(
        self,
        index: int,
        corners: tuple[float, float, float, int, int],
        boxes: tuple[Rectangle, ...],
        gaps: list[float],
    ) -> tuple[tuple[float, float], ...]:
        wire = self._picture.wires[index]
        leaves, passes, arrives, first, last = corners
        source, target = boxes[wire.source], boxes[wire.target]
        points = [(leaves, source.bottom)]
        if first >= 0:
            height = gaps[self._rows[wire.source]] + TRACK * first
            points += [(leaves, height), (passes, height)]
        if last >= 0:
            height = gaps[self._rows[wire.target] - 1] + TRACK * last
            points += [(passes, height), (arrives, height)]
        return (*points, (arrives, target.top))

    def _frame(self, boxes: tuple[Rectangle, ...]) -> Rectangle | None:
        """Around the boxes inside; none where one that is not inside would be in it, too."""
        within = [rect for rect, box in zip(boxes, self._picture.boxes, strict=True) if box.inside]
        if not within or not self._picture.frame:
            return None
        left, top = min(rect.left for rect in within), min(rect.top for rect in within)
        right, bottom = max(rect.right for rect in within), max(rect.bottom for rect in within)
        frame = Rectangle(
            left - FRAME_MARGIN,
            top - FRAME_MARGIN,
            right - left + 2 * FRAME_MARGIN,
            bottom - top + FRAME_MARGIN + FRAME_BELOW,
        )
        outside = [rect for rect, box in zip(boxes, self._picture.boxes, strict=True) if not box.inside]
        return None if any(frame.overlaps(rect) for rect in outside) else frame

    def _gone(self, boxes: tuple[Rectangle, ...], right: float) -> tuple[tuple[Rectangle, ...], float]:
        """A column to the right of everything: each as near to where it stood as there is room."""
        texts = [gone_text(gone) for gone in self._picture.gone]
        widths = [
            max(text_width(op, TITLE_SIZE), text_width(below, TEXT_SIZE)) + 2 * PADDING for op, below in texts
        ]
        width = max([MIN_GONE_WIDTH, *widths])
        left, free = right + COLUMN_GAP + FRAME_MARGIN, float(MARGIN + LINE + GONE_GAP)
        placed = []
        for gone in self._picture.gone:
            top = max(free, boxes[gone.near].top)
            placed.append(Rectangle(left, top, width, GONE_HEIGHT))
            free = top + GONE_HEIGHT + GONE_GAP
        return tuple(placed), left + width


def _size(box: Box) -> tuple[float, float]:
    said, changes = box_lines(box)
    title = text_width(shorten(box.op, MAX_LETTERS), TITLE_SIZE) + (BADGE if box.state != "kept" else 0)
    width = max([title, *(text_width(line, TEXT_SIZE) for line in said + changes)]) + 3 * PADDING
    label = 2 * (text_width(wire_label(box), TEXT_SIZE) + 8)  # it begins in the middle, below the box
    return max(width, label, MIN_WIDTH), LINE * (1 + len(said) + len(changes)) + 2 * PADDING - 4


def _rows(picture: GraphPicture) -> list[int]:
    """Each box's longest path from the first; what depends on nothing stands just above its reader."""
    rows = [0] * len(picture.boxes)
    sources: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {}
    for wire in picture.wires:
        sources.setdefault(wire.target, []).append(wire.source)
        readers.setdefault(wire.source, []).append(wire.target)
    for box in range(len(rows)):
        rows[box] = max((rows[source] + 1 for source in sources.get(box, [])), default=0)
    fed = _fed(picture)
    for box in reversed(range(len(rows))):
        if box not in fed and box in readers:
            rows[box] = max(min(rows[reader] for reader in readers[box]) - 1, 0)
    return rows


def _fed(picture: GraphPicture) -> set[int]:
    """The boxes that depend on the network's input, which is box 0."""
    fed = {0}
    for wire in sorted(picture.wires, key=lambda wire: wire.target):
        if wire.source in fed:
            fed.add(wire.target)
    return fed


def _main_path(picture: GraphPicture, rows: list[int]) -> set[int]:
    """The boxes of a longest path from the input to the last box (what a frame passes, not its weights)."""
    sources: dict[int, list[int]] = {}
    fed = _fed(picture)
    for wire in picture.wires:
        if wire.source in fed:
            sources.setdefault(wire.target, []).append(wire.source)
    path, box = set(), len(rows) - 1
    while box >= 0:
        path.add(box)
        box = max(sources.get(box, []), key=lambda source: (rows[source], -source), default=-1)
    return path
