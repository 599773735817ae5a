"""The plots of a study: speed over LUTs, the roofline, and the cycles of every layer.

For paper as well: what a colour says, a marker, a hatching or a letter says, too. Drawn with matplotlib,
which is imported to draw and not before; the same results give the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from labd_host.dataflow.layers import WidthConverter
from labd_host.drawing.markup import shorten
from labd_host.drawing.node_names import shown_name
from labd_host.experiments.study_model import ExperimentOutcome, Result
from labd_host.explore.bounds import Bounds
from labd_shared.rates import frames_per_s

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH_INCHES = 6.25  # as wide as the page prints it, so that its letters keep their size
FONT, SMALL_FONT = 9, 8
# Okabe and Ito's colours, which all kinds of sight tell apart; in grey they differ in lightness, too.
INK, LINE, SOFT, WARM, SKY = "#000000", "#0072b2", "#767676", "#d55e00", "#56b4e9"
STYLE = {
    "svg.hashsalt": "labd",
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.5,
}
NAME_LETTERS = 28
LABEL_STEP = 0.05  # of the axes' height between two labels
SIZES = ("", "K", "M", "G", "T")
PUSHES = 400  # at most, until no label lies on another
PANELS_A_ROW = 4
ROW_INCHES, PANEL_BORDER_INCHES = 0.16, 0.75
HATCH = "////"
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Picture:
    """A plot.

    Attributes:
        svg: The file.
        title: Beneath it.
        alternative: What it shows, for who cannot see it.
        words: How to read it.
    """

    svg: str
    title: str
    alternative: str
    words: str


@dataclass(frozen=True)
class PlotPoint:
    """An experiment with its result, under the name that stands beside it."""

    name: str
    outcome: ExperimentOutcome
    result: Result


def points(outcomes: Sequence[ExperimentOutcome]) -> list[PlotPoint]:
    """Those that have a result; the clock stands in the name where there are several."""
    clocks = {each.experiment.clock_mhz for each in outcomes}
    found = []
    for each in outcomes:
        if each.result is not None:
            clock = f", {each.experiment.clock_mhz:g} MHz" if len(clocks) > 1 else ""
            found.append(PlotPoint(f"{each.experiment.name}{clock}", each, each.result))
    return found


# --- frames a second over LUTs


def speed_over_luts(network: str, outcomes: Sequence[ExperimentOutcome], limits: Bounds) -> Picture:
    """What a folding costs and what it gives; at least one outcome has a result."""
    shown = points(outcomes)
    part = limits.part
    clocks = sorted({each.experiment.clock_mhz for each in outcomes})
    frontiers = {clock: [frames_per_s(clock, cycles) for cycles in limits.cycles] for clock in clocks}
    with _figure(WIDTH_INCHES, 4.4) as (figure, done):
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for (clock, speeds), style in zip(frontiers.items(), cycle(LINES), strict=False):
            label = f"frontier at {clock:g} MHz"
            axes.step(
                limits.lut, speeds, where="post", color=LINE, linewidth=1.4, linestyle=style, label=label
            )
        _rates(axes, shown)
        axes.axvline(part.holds.lut, color=INK, linewidth=1.4, label=f"all LUT of the {part.name}")
        share = f"{100 * part.recommended.lut / part.holds.lut:.0f} %"
        axes.axvline(
            part.recommended.lut,
            color=INK,
            linewidth=1,
            linestyle="--",
            label=f"{share} of them, as AMD recommends",
        )
        cells = [*limits.lut, *(point.result.predicted.expected.lut for point in shown)]
        axes.set_xlim(0.8 * min(cells), 1.3 * max(part.holds.lut, *cells))
        rates = [read(point) for point in shown for _, _, _, read in _KINDS if read(point)]
        rates += [each for speeds in frontiers.values() for each in speeds]
        axes.set_ylim(0.5 * min(rates), 2 * max(rates))
        axes.set_xlabel("LUT expected after synthesis; bar: how far off that may be")
        axes.set_ylabel("frames/s")
        _plain_numbers(axes.xaxis, axes.yaxis)
        axes.grid(visible=True, which="major")
        spots = [(point.name, point.result.predicted.expected.lut, _best_rate(point)) for point in shown]
        _lay_out(figure, axes, 3)
        _labels(axes, spots)
        svg = done(f"{network} speed")
    said = "; ".join(f"{name} {speed:,.4g} frames/s for {lut:,.0f} LUT" for name, lut, speed in spots)
    ends = [
        f" The frontier at {clock:g} MHz ends at {speeds[-1]:,.0f} frames/s for {limits.lut[-1]:,.0f} LUT."
        for clock, speeds in frontiers.items()
        if speeds
    ]
    return Picture(
        svg,
        f"{network}: frames a second over LUT",
        f"Frames a second over LUT, both axes logarithmic. {said}.{''.join(ends)}",
        "The line is the frontier: for every rate the folding with the fewest LUT that keeps the part's block "
        "RAM, flip-flops and DSPs, found exactly by the optimiser, for FIFOs of two words and as predicted. How far "
        "right of it an experiment lies is what its folding and its deeper FIFOs cost. An empty circle is "
        "predicted, a cross simulated, a square measured.",
    )


def _rates(axes: Axes, shown: Sequence[PlotPoint]) -> None:
    for point in shown:
        predicted = point.result.predicted
        lut, most = (
            predicted.expected.lut,
            0.9 * predicted.expected.lut,
        )  # no bar reaches 0, which has no logarithm
        band = min(predicted.plus_minus.lut, most)
        axes.errorbar(lut, predicted.frames_per_s, xerr=band, color=SOFT, linewidth=0.8, capsize=2)
    for label, marker, style, read in _KINDS:
        known = [(point.result.predicted.expected.lut, read(point)) for point in shown]
        drawn = [(lut, found) for lut, found in known if found]
        if drawn:
            axes.scatter(*zip(*drawn, strict=True), marker=marker, label=label, **style)


def _predicted_rate(point: PlotPoint) -> float:
    return point.result.predicted.frames_per_s


def _simulated_rate(point: PlotPoint) -> float:
    found = point.result.simulated
    return 0.0 if found is None or found.fault else found.frames_per_s


def _measured_rate(point: PlotPoint) -> float:
    return point.result.measured.frames_per_s if point.result.measured else 0.0


_KINDS: tuple[tuple[str, str, dict[str, Any], Callable[[PlotPoint], float]], ...] = (
    ("predicted", "o", {"facecolors": "white", "edgecolors": INK, "s": 34, "zorder": 3}, _predicted_rate),
    ("simulated", "x", {"color": WARM, "s": 30, "zorder": 4}, _simulated_rate),
    ("measured", "s", {"facecolors": SKY, "edgecolors": INK, "s": 26, "zorder": 5}, _measured_rate),
)


def _best_rate(point: PlotPoint) -> float:
    return _measured_rate(point) or _simulated_rate(point) or _predicted_rate(point)


# --- the roofline


def roofline(network: str, outcomes: Sequence[ExperimentOutcome], limits: Bounds) -> Picture:
    """Operations a second against operations a byte, for outcomes of one clock; at least one has a result."""
    shown = points(outcomes)
    per_s = outcomes[0].experiment.clock_mhz * 1e6
    first = shown[0].result.predicted
    moved = first.input_bytes + first.output_bytes
    intensity = first.operations / moved
    dma = per_s * first.operations / first.dma_interval_cycles
    top = per_s * first.operations / limits.least_cycles if limits.least_cycles else 0.0
    peaks = [point.result.predicted.peak_operations * per_s for point in shown]
    reached = [_best_rate(point) * first.operations for point in shown]
    with _figure(WIDTH_INCHES, 4.4) as (figure, done):
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        _roof(axes, intensity, dma, top, f"fastest folding that fits the {limits.part.name}")
        label = f"{_plain(network)}: {intensity:,.0f} operations a byte"
        axes.axvline(intensity, color=SOFT, linewidth=0.8, linestyle=":", label=label)
        axes.scatter([intensity] * len(shown), peaks, marker="_", s=160, color=INK, zorder=3,
                     label="a folding's own peak (names to the left)")  # fmt: skip
        axes.scatter([intensity] * len(shown), reached, marker="o", s=30, color=WARM, edgecolors=INK, zorder=4,
                     label="what it does (names to the right)")  # fmt: skip
        axes.set_ylim(0.3 * min(reached), 4 * max(top, *peaks))
        axes.set_xlabel("operations a byte over the DMAs")
        axes.set_ylabel("operations/s")
        _short_numbers(axes.xaxis)
        _short_numbers(axes.yaxis)
        axes.grid(visible=True, which="major")
        _lay_out(figure, axes, 2)
        names = [point.name for point in shown]
        _labels(
            axes,
            [(name, intensity, peak) for name, peak in zip(names, peaks, strict=True)],
            left=True,
        )
        _labels(axes, [(name, intensity, found) for name, found in zip(names, reached, strict=True)])
        svg = done(f"{network} roofline {per_s:g}")
    said = "; ".join(
        f"{name} does {_short(found)} of {_short(peak)}"
        for name, found, peak in zip(names, reached, peaks, strict=True)
    )
    return Picture(
        svg,
        f"{network}: roofline at {per_s / 1e6:g} MHz",
        f"Operations a second against operations a byte. The DMA allows {_short(dma)} operations/s, the fastest "
        f"folding that fits {_short(top)}. {said}.",
        f"A frame is {first.operations:,} operations (a multiplication and an addition for each weight and place) "
        f"and {moved:,} bytes: {intensity:,.0f} operations a byte, whatever the folding, so all experiments lie on one "
        f"line. The rising line is what the DMA lets in, {_short(dma)} operations/s here; the flat one what the "
        f"fastest folding of this network computes that fits the part, were there no DMA. A folding's own peak has all "
        f"PEs and lanes busy in every cycle: between it and what the folding does lies the time in which fast stages "
        f"wait for the slowest. What touches the rising line is bound by the DMA, all else by its slowest stage.",
    )


def _short(operations: float) -> str:
    """*operations* in three figures: "120G", "31T"."""
    size = 0
    while operations >= 1000 and size < len(SIZES) - 1:
        operations, size = operations / 1000, size + 1
    return f"{operations:.3g}{SIZES[size]}"


def _roof(axes: Axes, intensity: float, dma: float, top: float, label: str) -> None:
    """The DMA's bound, *dma* operations/s at *intensity*, up to *top*, and from there on that."""
    low, high = intensity / 30, intensity * 30
    ridge = min(max(low, intensity * top / dma), high) if top else high
    slope = dma / intensity
    axes.plot([low, ridge], [slope * low, slope * ridge], color=LINE, linewidth=1.6, label="DMA bound")
    if top:
        axes.plot([ridge, high], [top, top], color=INK, linewidth=1.6, linestyle="--", label=label)


# --- cycles by layer


def layer_cycles(network: str, outcomes: Sequence[ExperimentOutcome]) -> Picture:
    """Cycles of every stage, an experiment beside the other; at least one has a result."""
    shown = points(outcomes)
    names = _stages(shown)
    down = math.ceil(len(shown) / PANELS_A_ROW)
    across = math.ceil(len(shown) / down)
    most = max(row.interval_cycles for point in shown for row in point.result.layers)
    height = down * (len(names) * ROW_INCHES + PANEL_BORDER_INCHES)
    with _figure(WIDTH_INCHES, max(height, 1.6)) as (figure, done):
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        for panel, point in zip(panels, shown, strict=False):
            _bars(panel, point, names)
        panels[0].set_xscale("log")
        panels[0].set_xlim(0.8, 1.5 * most)
        _short_numbers(panels[0].xaxis, 4)
        for panel in panels[: len(shown)]:
            panel.set_yticks(range(len(names)), [_plain(name) for name in names], fontsize=SMALL_FONT)
        panels[0].invert_yaxis()
        figure.supxlabel("cycles a frame", fontsize=FONT)
        svg = done(f"{network} layers")
    said = "; ".join(
        f"{point.name}: {point.result.predicted.slowest[0]}, {point.result.predicted.interval_cycles:,}"
        for point in shown
    )
    return Picture(
        svg,
        f"{network}: cycles a frame, stage by stage",
        f"Bars of the cycles of every stage, logarithmic. The slowest of each: {said}.",
        "The hatched bar is the bottleneck, and the dotted line its cycles: what all others have time for. The "
        "nearer the bars come to it, the better the work is shared out. Width converters are left out where none "
        "is the bottleneck.",
    )


def _stages(shown: Sequence[PlotPoint]) -> list[str]:
    """The stages of all experiments in the stream's order; a width converter only where it is a bottleneck."""
    names: list[str] = []
    for point in shown:
        at = 0
        for row in point.result.layers:
            if row.name in names:
                at = names.index(row.name) + 1
            elif row.op != WidthConverter.op or row.name == point.result.predicted.slowest[0]:
                names.insert(at, row.name)
                at += 1
    return names


def _bars(panel: Axes, point: PlotPoint, names: Sequence[str]) -> None:
    slowest = point.result.predicted.slowest[0]
    cycles = {
        row.name: row.interval_cycles
        for row in point.result.layers
        if row.op != WidthConverter.op or row.name == slowest  # another folding has its converters elsewhere
    }
    at = [number for number, name in enumerate(names) if name in cycles]
    bars = panel.barh(
        at,
        [cycles[names[number]] for number in at],
        height=0.7,
        color="#bdbdbd",
        edgecolor=INK,
        linewidth=0.4,
    )
    for bar, number in zip(bars, at, strict=True):
        if names[number] == slowest:
            bar.set(facecolor=WARM, hatch=HATCH)
    interval = point.result.predicted.interval_cycles
    panel.axvline(interval, color=INK, linewidth=0.8, linestyle=":")
    panel.set_title(f"{_plain(point.name)}\n{interval:,}", fontsize=SMALL_FONT)
    panel.tick_params(axis="x", labelsize=SMALL_FONT)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=True, axis="x", which="major")


# --- what they share


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, _Done]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_facecolor("white")
        yield figure, _Done(figure)


@dataclass(frozen=True)
class _Done:
    """Writes a figure as SVG; the name tells its identifiers from those of another."""

    figure: Figure

    def __call__(self, name: str) -> str:
        import matplotlib as mpl

        target = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": name}):
            self.figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
        return target.getvalue()


def _plain(name: str) -> str:
    """A name as matplotlib draws it as it is: a dollar sign begins a formula."""
    return shorten(shown_name(name), NAME_LETTERS).replace("$", r"\$")


def _plain_numbers(*axes: Axis) -> None:
    """Ticks that read 20,000; a power's exponent would be too small to read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())


def _short_numbers(axis: Axis, most: int = 20) -> None:
    """Ticks that read 10k, *most* at most, and none between them, which a small panel has no room for."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(numticks=most))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_locator(NullLocator())


def _lay_out(figure: Figure, axes: Axes, columns: int) -> None:
    """Add the legend, and find the axes' size and limits once and for all."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=SMALL_FONT, frameon=False
    )
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _labels(axes: Axes, where: Sequence[tuple[str, float, float]], *, left: bool = False) -> None:
    """A name beside each point (name, x, y), those that lie on each other pushed apart; points that are one
    share a label. The axes must have their size and limits."""
    to_axes = axes.transData + axes.transAxes.inverted()
    together: dict[tuple[float, float], list[str]] = {}
    for name, across, up in where:
        spot = tuple(round(float(each), 3) for each in to_axes.transform((across, up)))
        together.setdefault((spot[0], spot[1]), []).append(_plain(name))
    spots = sorted(together, key=lambda spot: (spot[1], spot[0]))
    heights = _apart([spot[1] for spot in spots], 1 - LABEL_STEP)
    for spot, height in zip(spots, heights, strict=True):
        axes.annotate(
            ", ".join(together[spot]), spot, xycoords="axes fraction",
            xytext=(spot[0] + (-0.05 if left else 0.05), height), textcoords="axes fraction",
            fontsize=SMALL_FONT, va="center", ha="right" if left else "left", zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6},
        )  # fmt: skip


def _apart(wanted: Sequence[float], highest: float) -> list[float]:
    """*wanted*, ascending, moved as little as it takes for each to be `LABEL_STEP` above the one before."""
    heights = list(wanted)
    for _ in range(PUSHES):
        overlaps = [at for at in range(1, len(heights)) if heights[at] - heights[at - 1] < LABEL_STEP - 1e-6]
        if not overlaps:
            break
        for at in overlaps:
            missing = max(0.0, LABEL_STEP - heights[at] + heights[at - 1])
            heights[at - 1] -= missing / 2
            heights[at] += missing / 2
    over = max(0.0, max(heights, default=0.0) - highest)
    return [height - over for height in heights]
