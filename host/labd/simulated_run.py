"""A folded network run cycle by cycle: latency, rate, FIFO levels, and who waits for whom."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labd.figure import SIMULATED, Figure
from labd.shown import Shown, terminal
from labd_host.drawing.node_names import shown_name
from labd_shared.errors import UsageError
from labd_shared.rates import frames_per_s

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from labd_host.simulate.pipeline import Machine

FRAMES = 5
TRACE_ROWS = 600  # of a picture
ANIMATION_ROWS = 1500  # steps of an animation


class SimulatedRun(Shown):
    """Some frames through a folded network, simulated cycle by cycle.

    Attributes:
        frames: How many went through.
        clock_mhz: Of the accelerator.
        simulations: How many simulations FIFO sizing took; 0 where FIFOs were given.
    """

    def __init__(self, machine: Machine, frames: int, clock_mhz: float, *, size_fifos: bool = False) -> None:
        from labd_host.simulate.fifos import size_fifos as smallest_depths
        from labd_host.simulate.fifos import unbounded
        from labd_host.simulate.simulator import simulate

        self.frames, self.clock_mhz, self.simulations = frames, clock_mhz, 0
        self._free_cycles = unbounded(machine, frames).interval_cycles
        if size_fifos:
            sized = smallest_depths(machine, max(2, frames))
            self.simulations, machine = sized.simulations, machine.with_depths(sized.depths)
        self._machine, self._found = machine, simulate(machine, frames)

    @property
    def latency_cycles(self) -> Figure:
        """From the first word in to the first frame out."""
        return Figure(self._found.latency_cycles, "cycles", SIMULATED)

    @property
    def interval_cycles(self) -> Figure | None:
        """Between two frames once the pipeline is full; None for one frame."""
        interval = self._found.interval_cycles
        return None if math.isnan(interval) else Figure(interval, "cycles", SIMULATED)

    @property
    def frames_per_s(self) -> Figure | None:
        """The rate once the pipeline is full; None for one frame."""
        interval = self.interval_cycles
        return (
            None
            if interval is None
            else Figure(frames_per_s(self.clock_mhz, interval), "frames/s", SIMULATED)
        )

    @property
    def fifo_depths(self) -> dict[str, int]:
        """Name of each FIFO that can be chosen -> its depth in words."""
        return {fifo.name: fifo.depth for fifo in self._machine.fifos if not fifo.fixed}

    def summary(self) -> str:
        first = f"{self._machine.name}: first frame after {self._found.latency_cycles:,} cycles"
        interval = self.interval_cycles
        if interval is None:
            return f"{first} ({SIMULATED})"
        return f"{first}, then one every {interval:,.10g}: {self.frames_per_s:,.0f} frames/s ({SIMULATED})"

    @property
    def record(self) -> dict[str, Any]:
        from labd_host.simulate.simulator import STATES

        found, free = self._found, self._free_cycles
        interval, rate = self.interval_cycles, self.frames_per_s
        return {
            "network": self._machine.name,
            "clock_mhz": self.clock_mhz,
            "frames": len(found.finished),
            "latency_cycles": found.latency_cycles,
            "interval_cycles": None if interval is None else float(interval),
            "interval_cycles_without_full_fifos": None if math.isnan(free) else free,
            "frames_per_s": None if rate is None else float(rate),
            "bottleneck": found.bottleneck.name,
            "cycles": found.cycles,
            "units": [
                {"name": unit.name, "op": unit.op, **dict(zip(STATES, map(int, busy), strict=True))}
                for unit, busy in zip(self._machine.units, found.busy, strict=True)
            ],
            "fifos": [
                {"name": fifo.name, "depth": fifo.depth, "most": int(most), "bits": fifo.bits}
                for fifo, most in zip(self._machine.fifos, found.high_water, strict=True)
            ],
        }

    def picture(self, path: str | Path | None = None) -> str:
        """Who works, starves and is blocked over time, and how full the FIFOs are, as SVG.

        Args:
            path: Written there as well.

        Raises:
            UsageError: *path* cannot be written.
        """
        from labd_host.simulate.run_picture import draw
        from labd_host.simulate.simulator import simulate

        text = draw(simulate(self._machine, self.frames, trace_rows=TRACE_ROWS), self.clock_mhz)
        return _written(path, text)

    def animation(self, path: str | Path | None = None) -> str:
        """The same as a page to step through, cycle by cycle; arguments and errors as of `picture`."""
        from labd_host.simulate.animation import page
        from labd_host.simulate.simulator import simulate

        text = page(simulate(self._machine, self.frames, trace_rows=ANIMATION_ROWS), self.clock_mhz)
        return _written(path, text)

    def write_depths(self, path: str | Path) -> None:
        """Write the FIFO depths, for ``labd simulate --fifo-depths FILE``.

        Raises:
            UsageError: *path* cannot be written.
        """
        depths = {name: {"depth": depth} for name, depth in self.fifo_depths.items()}
        _written(path, json.dumps(depths, indent=2) + "\n")

    def _repr_html_(self) -> str:
        return self.picture()

    def show(self, console: Console | None = None) -> None:
        console = console or terminal()
        found, clock_mhz, interval = self._found, self.clock_mhz, self._found.interval_cycles
        console.print(self._table())
        console.print(
            f"first frame after {found.latency_cycles:,} cycles, {found.latency_cycles / clock_mhz:,.2f} us at "
            f"{clock_mhz:g} MHz",
            soft_wrap=True,
        )
        if math.isnan(interval):
            console.print("one frame shows no rate: --frames 2 or more", soft_wrap=True)
            return
        console.print(
            f"then one every {interval:,.10g} cycles: {self.frames_per_s:,.0f} frames/s; busiest: "
            f"{found.bottleneck.name}",
            soft_wrap=True,
        )
        if interval > self._free_cycles:
            console.print(
                "the FIFOs are too small for more: with FIFOs that never fill it would be "
                f"{self._free_cycles:,.10g} cycles; --size-fifos finds the smallest that do",
                soft_wrap=True,
            )
        self._show_blocked(console)

    def _show_blocked(self, console: Console) -> None:
        """The unit that waits longest for room behind it."""
        from labd_host.simulate.simulator import BLOCKED

        found = self._found
        index = int(found.busy[:, BLOCKED].argmax())
        cycles = int(found.busy[index, BLOCKED])
        if cycles:
            unit = self._machine.units[index]
            fifo = self._machine.fifos[unit.outputs[0]]
            console.print(
                f"blocked longest: {unit.name}, {cycles / found.cycles:.0%} of the time, because {fifo.name} is full",
                soft_wrap=True,
            )

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table

        from labd_host.simulate.simulator import BLOCKED, IDLE, STARVED, WORKING

        found, machine = self._found, self._machine
        table = Table(
            title=f"{machine.name}, {found.cycles:,} cycles", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        table.add_column("node", no_wrap=True)
        for header in ("work", "starve", "block", "idle", "FIFO", "depth", "most"):
            table.add_column(header, justify="right", no_wrap=True)
        for unit, busy in zip(machine.units, found.busy, strict=True):
            shares = [f"{busy[state] / found.cycles:.0%}" for state in (WORKING, STARVED, BLOCKED, IDLE)]
            behind = ["", "", ""]
            if unit.outputs:
                fifo = machine.fifos[unit.outputs[0]]
                behind = [
                    fifo.name.rpartition("_")[2],
                    str(fifo.depth),
                    str(found.high_water[unit.outputs[0]]),
                ]
                if fifo.fixed:
                    behind[0] = "DMA"
            table.add_row(shown_name(unit.name), *shares, *behind)
        table.caption = "FIFO: the one behind the node, and the most words it held"
        return table


def _written(path: str | Path | None, text: str) -> str:
    """*text*, written to *path* where there is one."""
    if path is not None:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}", fix="name another file"
            ) from error
    return text
