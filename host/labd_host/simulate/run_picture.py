"""A simulated run as a picture: who works, starves and is blocked over time, and how full the FIFOs are.

Drawn with matplotlib, which is imported to draw and not before; the same run gives the same bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from labd_host.drawing.markup import shorten
from labd_host.simulate.simulator import STATES, Simulation
from labd_shared.rates import frames_per_s

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"idle": "#e4e7eb", "working": "#2f9e62", "starved": "#f8e2a4", "blocked": "#c8372d"}
LEGEND = {
    "working": "works",
    "starved": "starves: no input",
    "blocked": "is blocked: no room behind",
    "idle": "idle: restarts, or done",
}
NAME_COLUMNS = 34
ROW_INCHES, WIDTH_INCHES, BORDER_INCHES = 0.23, 12.0, 2.2
MAX_FRAME_LINES = 50


def draw(run: Simulation, clock_mhz: float) -> str:
    """*run*, which has a trace, as an SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    trace = run.trace
    if trace is None:
        raise ValueError("the run was not traced")
    units, fifos = run.machine.units, run.machine.fifos
    settings = {"svg.hashsalt": run.machine.name, "svg.fonttype": "none", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        rows = len(units) + len(fifos)
        figure = Figure(figsize=(WIDTH_INCHES, rows * ROW_INCHES + BORDER_INCHES), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[len(units), len(fifos)])
        cycles = len(trace.units) * trace.bucket_cycles
        above.imshow(
            _mixed(trace.units), aspect="auto", interpolation="nearest", extent=(0, cycles, len(units), 0)
        )
        _names(above, [unit.name for unit in units])
        depths = np.array([fifo.depth for fifo in fifos])
        shown = below.imshow(
            (trace.fifos / depths).T, aspect="auto", interpolation="nearest", extent=(0, cycles, len(fifos), 0),
            cmap="Blues", vmin=0, vmax=1,
        )  # fmt: skip
        _names(below, [f"{fifo.name}, depth {fifo.depth}" for fifo in fifos])
        figure.colorbar(shown, ax=below, label="words / depth", pad=0.01)
        for axes in (above, below):
            for finished in run.finished[:MAX_FRAME_LINES]:
                axes.axvline(float(finished), color="#1c2129", linewidth=0.8, linestyle=":")
            axes.hlines(range(1, round(axes.get_ylim()[0])), 0, cycles, color="#ffffff", linewidth=0.8)
            axes.set_xlim(0, run.cycles)
        below.set_xlabel("clock cycle; dotted: a frame is done")
        above.set_title(shorten(_title(run, clock_mhz), 200), fontsize=11)
        _legend(figure)
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Title": _title(run, clock_mhz)})
    return target.getvalue()


def _mixed(trace: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(units, rows, 3): the states' colours, mixed by their share of each row."""
    palette = np.array([[int(COLOURS[state][at : at + 2], 16) / 255 for at in (1, 3, 5)] for state in STATES])
    shares = trace / np.maximum(trace.sum(axis=2, keepdims=True), 1)
    mixed: npt.NDArray[np.float64] = np.clip(shares @ palette, 0, 1)
    return mixed.transpose(1, 0, 2)


def _names(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(np.arange(len(names)) + 0.5, [_plain(name) for name in names], fontsize=7.5)
    axes.tick_params(axis="y", length=0)


def _plain(name: str) -> str:
    """A name as matplotlib draws it as it is: a dollar sign begins a formula."""
    return shorten(name.replace("StreamingDataWidthConverter", "WidthConverter"), NAME_COLUMNS).replace(
        "$", r"\$"
    )


def _title(run: Simulation, clock_mhz: float) -> str:
    latency = f"first frame after {run.latency_cycles:,} cycles"
    if len(run.finished) < 2:
        return f"{run.machine.name}: {latency}"
    interval = run.interval_cycles
    rate = frames_per_s(clock_mhz, interval)
    return f"{run.machine.name}: {latency}, then one every {interval:,.10g}: {rate:,.0f} frames/s at {clock_mhz:g} MHz"


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=COLOURS[state], label=label) for state, label in LEGEND.items()]
    figure.legend(handles=patches, ncols=len(patches), loc="outside upper left", frameon=False, fontsize=8.5)
