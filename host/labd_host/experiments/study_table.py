"""The table of a study: one list of columns, drawn for a terminal, as CSV, as Markdown and in a page.

A figure that is not known is a dash with a footnote that says why. Names come from users and models, so
every form escapes them: rich gets texts and no markup, Markdown backslashes, a spreadsheet no formulas.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from rich.console import Group
from rich.table import Table
from rich.text import Text

from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.drawing.markup import clean, columns, element
from labd_host.drawing.node_names import shown_name
from labd_host.experiments.study_model import (
    BoardMeasurement,
    ExperimentOutcome,
    NetworkAccuracy,
    Result,
    Simulated,
    Study,
)
from labd_host.experiments.wording import rate

Cell = float | str | None
Reader = Callable[[ExperimentOutcome], Cell]

ALWAYS = 100  # a column of this rank is never left out
GAP = 2  # columns between two on a terminal
FOLDING_WIDTH = 22  # of a terminal; longer words go on in a second line
WAITING = "has no result yet: run the study again"
CELLS = "LUT and BRAM18: of the whole design, as synthesis is expected to report them (cost model)"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Above it, for people; a terminal has two lines for it.
        key: Above it in a CSV, with its unit.
        value: Of an outcome, as it is; None where it is not known.
        why: Why it is not known.
        digits: Of a number, behind the point, for people.
        rank: A narrow terminal leaves out the lowest first; None: it stands in the CSV only.
        flexible: Its words may go on in a second line.
    """

    title: str
    key: str
    value: Reader
    why: Callable[[ExperimentOutcome], str] = lambda outcome: WAITING
    digits: int = 0
    rank: int | None = None
    flexible: bool = False

    @property
    def number(self) -> bool:
        """Whether it is set to the right."""
        return self.key not in ("experiment", "folding", "bottleneck")


def by_network(outcomes: Sequence[ExperimentOutcome]) -> dict[str, list[ExperimentOutcome]]:
    """Network -> its outcomes, both in the study's order."""
    groups: dict[str, list[ExperimentOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.experiment.network, []).append(outcome)
    return groups


def _of(read: Callable[[Result], Cell]) -> Reader:
    return lambda outcome: None if outcome.result is None else read(outcome.result)


def _simulated(read: Callable[[Simulated], Cell]) -> Reader:
    return _of(
        lambda found: None if found.simulated is None or found.simulated.fault else read(found.simulated)
    )


def _measured(read: Callable[[BoardMeasurement], Cell]) -> Reader:
    return _of(lambda found: None if found.measured is None else read(found.measured))


def _accuracy(read: Callable[[NetworkAccuracy], Cell]) -> Reader:
    return _of(lambda found: None if found.accuracy is None else read(found.accuracy))


def _built(read: Callable[[Resources], Cell]) -> Reader:
    return _of(lambda found: None if found.built is None else read(found.built))


def _lut_percent(outcome: ExperimentOutcome) -> Cell:
    if outcome.result is None:
        return None
    return 100 * outcome.result.predicted.expected.lut / part_of(outcome.experiment.part).holds.lut


def _latency_us(outcome: ExperimentOutcome) -> Cell:
    return _simulated(lambda found: found.latency_cycles / outcome.experiment.clock_mhz)(outcome)


def _unsimulated(outcome: ExperimentOutcome) -> str:
    found = outcome.result.simulated if outcome.result else None
    return f"not simulated: {found.fault}" if found and found.fault else "not simulated"


def _unmeasured(outcome: ExperimentOutcome) -> str:
    board = outcome.experiment.board
    return f"board {board} gave no figure" if board else "no board was asked: --board 03"


def _unbuilt(outcome: ExperimentOutcome) -> str:
    return "no build of this folding was given: --builds DIR"


def _no_accuracy(outcome: ExperimentOutcome) -> str:
    return "neither the data set nor a record of the training was at hand"


COLUMNS = (
    Column("experiment", "experiment", lambda each: each.experiment.name, rank=ALWAYS),
    Column("", "network", lambda each: each.experiment.network),
    Column("folding", "folding", lambda each: each.experiment.folding, rank=20, flexible=True),
    Column("MHz", "clock_mhz", lambda each: each.experiment.clock_mhz, rank=90),
    Column("II\ncycles", "interval_cycles", _of(lambda found: found.predicted.interval_cycles), rank=ALWAYS),
    Column("frames/s\npredicted", "predicted_frames_per_s", _of(lambda found: found.predicted.frames_per_s),
           rank=ALWAYS),
    Column("frames/s\nsimulated", "simulated_frames_per_s", _simulated(lambda found: found.frames_per_s), _unsimulated,
           rank=70),
    Column("", "simulated_interval_cycles", _simulated(lambda found: found.interval_cycles)),
    Column("frames/s\nmeasured", "measured_frames_per_s", _measured(lambda found: found.frames_per_s), _unmeasured,
           rank=60),
    Column("", "measured_end_to_end_frames_per_s", _measured(lambda found: found.end_to_end_frames_per_s)),
    Column("", "measured_on", _measured(lambda found: found.where)),
    Column("latency\nus", "latency_us", _latency_us, _unsimulated, digits=2, rank=50),
    Column("", "latency_cycles", _simulated(lambda found: found.latency_cycles)),
    Column("", "measured_latency_us", _measured(lambda found: found.latency_us)),
    Column("LUT", "expected_lut", _of(lambda found: found.predicted.expected.lut), rank=ALWAYS),
    Column("LUT\n±", "expected_lut_plus_minus", _of(lambda found: found.predicted.plus_minus.lut), rank=30),
    Column("% of\npart", "expected_lut_percent_of_part", _lut_percent, rank=35),
    Column("", "finn_lut", _of(lambda found: found.predicted.finn.lut)),
    Column("LUT\nbuilt", "built_lut", _built(lambda cells: cells.lut), _unbuilt, rank=45),
    Column("", "expected_ff", _of(lambda found: found.predicted.expected.ff)),
    Column("BRAM18", "expected_bram18", _of(lambda found: found.predicted.expected.bram18), rank=80),
    Column("", "finn_bram18", _of(lambda found: found.predicted.finn.bram18)),
    Column("", "built_bram18", _built(lambda cells: cells.bram18)),
    Column("", "expected_dsp", _of(lambda found: found.predicted.expected.dsp)),
    Column("bottleneck", "bottleneck", _of(lambda found: found.predicted.slowest[0]), rank=85),
    Column("accuracy\n%", "accuracy_percent", _accuracy(lambda found: found.percent),
           _no_accuracy, digits=2, rank=40),
    Column("", "accuracy_images", _accuracy(lambda found: found.images)),
    Column("", "accuracy_source", _accuracy(lambda found: found.source)),
    Column("", "part", lambda each: each.experiment.part),
    Column("", "key", lambda each: each.experiment.key),
    Column("", "fault", lambda each: each.fault),
)  # fmt: skip


@dataclass
class Grid:
    """A table as texts.

    Attributes:
        columns: What is shown.
        rows: A text for each of them.
        notes: Footnotes, the first is marked 1.
    """

    columns: Sequence[Column]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, outcome: ExperimentOutcome) -> None:
        """A row; of a failed or a waiting experiment its sentence is a footnote."""
        if outcome.result is None:
            name = outcome.experiment.name
            mark = self._mark(f"{name} failed: {outcome.fault}" if outcome.fault else f"{name} {WAITING}")
            asked = {"experiment", "folding", "clock_mhz"}
            row = [shown(each, each.value(outcome)) if each.key in asked else "-" for each in self.columns]
            self.rows.append([row[0] + mark, *row[1:]])
            return
        row = []
        for each in self.columns:
            value = each.value(outcome)
            row.append("-" + self._mark(each.why(outcome)) if value is None else shown(each, value))
        self.rows.append(row)

    def _mark(self, note: str) -> str:
        if note not in self.notes:
            self.notes.append(note)
        return marker(self.notes.index(note) + 1)


def marker(number: int) -> str:
    """The sign of a footnote: a raised number."""
    return str(number).translate(_SUPERSCRIPTS)


def shown(column: Column, value: Cell) -> str:
    """*value* for people."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return clean(shown_name(value) if column.key == "bottleneck" else value)
    if column.key == "clock_mhz":
        return f"{value:g}"
    if column.key.endswith("frames_per_s"):
        return rate(value)
    return f"{value:,.{column.digits}f}"


def shown_columns(outcomes: Sequence[ExperimentOutcome]) -> list[Column]:
    """The columns for people: the clock only where there are several, builds only where there is one."""
    clocks = {each.experiment.clock_mhz for each in outcomes}
    needless = {"clock_mhz"} if len(clocks) == 1 else set()
    if all(each.result is None or each.result.built is None for each in outcomes):
        needless.add("built_lut")
    return [each for each in COLUMNS if each.rank is not None and each.key not in needless]


def grid(outcomes: Sequence[ExperimentOutcome], shown_in: Sequence[Column]) -> Grid:
    """*outcomes* as texts."""
    made = Grid(shown_in)
    for outcome in outcomes:
        made.add(outcome)
    return made


# --- terminal


def terminal_tables(study: Study, outcomes: Sequence[ExperimentOutcome], width: int) -> Group:
    """A table a network, at most *width* columns wide, for rich; what has no room is named beneath."""
    parts: list[Table | Text] = []
    for network, group in by_network(outcomes).items():
        kept = fitting(group, shown_columns(group), width)
        made = grid(group, kept)
        parts.append(_terminal_table(f"{study.title}: {network}", made))
        parts += [Text(f"{marker(number)} {clean(note)}") for number, note in enumerate(made.notes, 1)]
        left = [each for each in shown_columns(group) if each not in kept]
        parts += _left_out(left, group)
        parts.append(Text())
    return Group(*parts, Text(CELLS, style="dim"))


def _left_out(left: Sequence[Column], group: Sequence[ExperimentOutcome]) -> list[Text]:
    """What the table had no room for: the foldings, and the names of the others."""
    lines = []
    if any(each.key == "folding" for each in left):
        asked = dict.fromkeys(f"{each.experiment.name}: {each.experiment.folding}" for each in group)
        lines = [Text(clean(line)) for line in asked]
    for each in left:
        reasons = sorted({each.why(outcome) for outcome in group if outcome.result is not None})
        if reasons and _unknown(each, group):
            lines.append(Text(clean(f"{in_words(each)}: {'; '.join(reasons)}")))
    others = [in_words(each) for each in left if each.key != "folding" and not _unknown(each, group)]
    if others:
        lines.append(Text(f"no room here for: {', '.join(others)}", style="dim"))
    return lines


def _unknown(column: Column, group: Sequence[ExperimentOutcome]) -> bool:
    return all(column.value(outcome) is None for outcome in group)


def in_words(column: Column) -> str:
    """Its title on one line."""
    return column.title.replace("\n", " ")


def _terminal_table(title: str, made: Grid) -> Table:
    table = Table(
        title=Text(clean(title), style="bold"), title_justify="left", box=None, pad_edge=False,
        padding=(0, GAP, 0, 0),
    )  # fmt: skip
    for column in made.columns:
        table.add_column(
            column.title if "\n" in column.title else f"\n{column.title}",
            justify="right" if column.number else "left",
            no_wrap=not column.flexible,
            overflow="fold",
        )
    for row in made.rows:
        table.add_row(*(Text(text) for text in row))
    return table


def fitting(outcomes: Sequence[ExperimentOutcome], wanted: Sequence[Column], width: int) -> list[Column]:
    """Those of *wanted* for which a terminal has room, the highest ranks; first those go of which nothing is
    known at all."""
    kept = list(wanted)
    while _least_width(outcomes, kept) > width:
        least = min(kept, key=lambda each: (each.rank == ALWAYS, not _unknown(each, outcomes), each.rank))
        if least.rank == ALWAYS:
            break
        kept.remove(least)
    return kept


def _least_width(outcomes: Sequence[ExperimentOutcome], kept: Sequence[Column]) -> int:
    made = grid(outcomes, kept)
    widths = []
    for at, column in enumerate(kept):
        widest = max(map(columns, [*column.title.split("\n"), *(row[at] for row in made.rows)]))
        widths.append(min(widest, FOLDING_WIDTH) if column.flexible else widest)
    return sum(widths) + GAP * (len(kept) - 1)


# --- files


def as_csv(outcomes: Sequence[ExperimentOutcome]) -> str:
    """All columns, numbers plain, units in the header, nothing where a figure is not known."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([each.key for each in COLUMNS])
    for outcome in outcomes:
        writer.writerow([_plain(each.value(outcome)) for each in COLUMNS])
    return target.getvalue()


def _plain(value: Cell) -> Cell:
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def as_markdown(outcomes: Sequence[ExperimentOutcome]) -> str:
    """One network's table, footnotes beneath."""
    made = grid(outcomes, shown_columns(outcomes))
    lines = [_line([in_words(each) for each in made.columns])]
    lines.append("|" + "|".join("---:" if each.number else "---" for each in made.columns) + "|")
    lines += [_line([in_markdown(text) for text in row]) for row in made.rows]
    lines += [f"\n{marker(number)} {in_markdown(note)}" for number, note in enumerate(made.notes, 1)]
    return "\n".join(lines) + "\n"


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def in_markdown(text: str) -> str:
    """*text* as Markdown shows it as it is, on one line; an underscore inside a word needs no help."""
    escaped = re.sub(r"([\\`*\[\]<>|$~#&])", r"\\\1", clean(" ".join(text.split())))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


def add_table(parent: Element, outcomes: Sequence[ExperimentOutcome]) -> None:
    """One network's table into a page, footnotes beneath."""
    made = grid(outcomes, shown_columns(outcomes))
    table = element(element(parent, "div", class_="wide"), "table")
    head = element(element(table, "thead"), "tr")
    for column in made.columns:
        header = element(head, "th", scope="col", **_aligned(column))
        header.text = column.title  # its line break stays one
    body = element(table, "tbody")
    for row in made.rows:
        line = element(body, "tr")
        for column, text in zip(made.columns, row, strict=True):
            element(line, "td", text, **_aligned(column))
    for number, note in enumerate(made.notes, 1):
        element(parent, "p", f"{marker(number)} {note}", class_="note")


def _aligned(column: Column) -> dict[str, str]:
    return {"class_": "number"} if column.number else {}
