"""The best folding of a network within budgets, and why it is the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labd.figure import MODELLED, Figure
from labd.shown import Shown, terminal
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from labd_host.dataflow.folded_chain import FoldedChain
    from labd_host.dataflow.folding import Folding
    from labd_host.dataflow.parts import Part
    from labd_host.explore.answer import Answer
    from labd_host.explore.calibration import Calibration
    from labd_host.explore.optimiser import Explorer

CELLS = ("lut", "ff", "bram18", "dsp")
COSTS = ("finn", "calibrated")


class FoldingAnswer(Shown):
    """One folding: its layers and the reason for each, its cells, how it runs, and what others cost beside it.

    Attributes:
        folding: Node name -> attribute -> value, FINN's form.
        clock_mhz: Of the accelerator.
    """

    def __init__(self, answer: Answer, part: Part, clock_mhz: float) -> None:
        self._answer, self._part, self.clock_mhz = answer, part, clock_mhz
        self.folding = {name: dict(settings) for name, settings in answer.design.settings.items()}

    @property
    def cycles_per_frame(self) -> Figure:
        """The initiation interval, restarts of HLS units counted."""
        return Figure(self._answer.expected.cycles_per_frame, "cycles", MODELLED)

    @property
    def frames_per_s(self) -> Figure:
        """The rate once the pipeline is full."""
        return Figure(self._answer.expected.frames_per_s(self.clock_mhz), "frames/s", MODELLED)

    @property
    def lut(self) -> Figure:
        """LUTs that synthesis is expected to report, of everything."""
        return Figure(self._answer.calibrated.lut, "LUT", "calibrated model")

    def summary(self) -> str:
        return (
            f"{self._answer.design.name}: {self.frames_per_s:,.0f} frames/s at {self.clock_mhz:g} MHz ({MODELLED}), "
            f"bound by {self._answer.expected.bottleneck}, {self.lut:,.0f} LUT of {self._part.holds.lut:,} expected"
        )

    @property
    def record(self) -> dict[str, Any]:
        return self._answer.as_record(self.clock_mhz)

    def write(self, path: str | Path) -> Path:
        """Write FINN's folding JSON, for ``--folding FILE``; the path.

        Raises:
            UsageError: *path* cannot be written.
        """
        from labd_host.dataflow.folding import to_json

        try:
            Path(path).write_text(to_json(self._answer.design.settings), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}", fix="name another file"
            ) from error
        return Path(path)

    def show(self, console: Console | None = None) -> None:
        from labd_host.explore.answer import show

        show(console or terminal(), self._answer, self._part, self.clock_mhz)


class Frontier(Shown):
    """The cheapest folding for every rate that fits the budgets, fastest first."""

    def __init__(self, explorer: Explorer, known: Calibration, clock_mhz: float) -> None:
        from labd_host.explore.rivals import calibrated_total, finn_total

        self._name, self.clock_mhz = explorer.design.name, clock_mhz
        self.rows: list[dict[str, Any]] = [
            {
                "cycles_per_frame": solution.cycles,
                "frames_per_s": explorer.expected(solution).frames_per_s(clock_mhz),
                "finn": asdict(finn_total(solution.design)),
                "calibrated": asdict(calibrated_total(solution.design, known)[0]),
                "folding": solution.folding,
            }
            for solution in explorer.frontier()
        ]
        if not self.rows:
            raise UsageError(
                f"no folding of {self._name} keeps the budgets", fix="raise them: --lut-budget N"
            )

    def summary(self) -> str:
        rates = [row["frames_per_s"] for row in self.rows]
        reach = f"from {min(rates):,.0f} to {max(rates):,.0f} frames/s ({MODELLED})"
        return f"{self._name}: {len(self.rows)} foldings {reach}"

    @property
    def record(self) -> dict[str, Any]:
        return {"network": self._name, "clock_mhz": self.clock_mhz, "frontier": self.rows}

    def show(self, console: Console | None = None) -> None:
        from labd_host.explore.answer import table

        made = table("cycles", "frames/s", "LUT by FINN", "BRAM18 by FINN", "LUT expected", "FF expected")
        made.columns[0].justify = "right"
        made.caption = "expected: with FIFOs of two words each"
        for row in self.rows:
            finn, calibrated = row["finn"], row["calibrated"]
            cells = (finn["lut"], finn["bram18"], calibrated["lut"], calibrated["ff"])
            made.add_row(
                f"{row['cycles_per_frame']:,}",
                f"{row['frames_per_s']:,.0f}",
                *(f"{many:,.0f}" for many in cells),
            )
        (console or terminal()).print(made)


class FoldingSearch:
    """The search for foldings of one network: exact for its costs, within its budgets.

    Args:
        chain: The network.
        clock_mhz: Of the accelerator.
        part: The FPGA.
        costs: "finn", FINN's estimate of the layers, or "calibrated", what synthesis is expected to report.
        budgets: Cells -> the most of them; what AMD recommends to use of the part where not given.
        dma: Whether the DMAs bound the rate.

    Raises:
        UnknownName: no such part.
        UsageError: unknown costs or cells.
    """

    def __init__(
        self,
        chain: FoldedChain,
        *,
        clock_mhz: float,
        part: str,
        costs: str = "finn",
        budgets: Mapping[str, int | None] | None = None,
        dma: bool = True,
    ) -> None:
        from labd_host.dataflow.parts import part_of
        from labd_host.explore import calibration
        from labd_host.explore.choices import calibrated_costs, finn_costs
        from labd_host.explore.optimiser import Explorer

        asked = dict(budgets or {})
        for name, known_names in ((costs, COSTS), *((cell, CELLS) for cell in asked)):
            if name not in known_names:
                raise UsageError(f"{name!r} is none of {', '.join(known_names)}", fix="choose one of these")
        self._part, self._known, self.clock_mhz = part_of(part), calibration.load(), clock_mhz
        chosen = finn_costs(self._known) if costs == "finn" else calibrated_costs(self._known)
        recommended = self._part.recommended
        most: dict[str, int] = {
            cell: given if (given := asked.get(cell)) is not None else int(getattr(recommended, cell))
            for cell in CELLS
        }
        self._explorer = Explorer(chain, chosen, most, dma=dma)

    def fastest(self) -> FoldingAnswer:
        """The fastest folding that keeps the budgets."""
        from labd_host.explore.answer import found

        return self._answer(found(self._explorer, self._known, self._explorer.fastest()))

    def for_rate(self, target_fps: float) -> FoldingAnswer:
        """The cheapest folding for *target_fps* frames a second.

        Raises:
            UsageError: no folding reaches it.
        """
        from labd_host.explore.answer import found
        from labd_host.explore.for_a_rate import most_cycles

        cycles = most_cycles(target_fps, self.clock_mhz)
        return self._answer(found(self._explorer, self._known, self._explorer.cheapest(cycles), cycles))

    def lowest_latency(self) -> FoldingAnswer:
        """The folding whose first frame is out soonest, of those that were simulated."""
        from labd_host.explore.answer import found
        from labd_host.explore.latency import lowest_latency

        return self._answer(found(self._explorer, self._known, lowest_latency(self._explorer)))

    def judge(self, folding: Folding) -> FoldingAnswer:
        """*folding*: what it costs, how far from the best it is, and what to change.

        Raises:
            IllegalFolding, UnknownName: it does not fit the network.
        """
        from labd_host.explore.answer import given

        return self._answer(given(self._explorer, self._known, folding))

    def frontier(self) -> Frontier:
        """The cheapest folding for every rate there is.

        Raises:
            UsageError: no folding keeps the budgets.
        """
        return Frontier(self._explorer, self._known, self.clock_mhz)

    def _answer(self, answer: Answer) -> FoldingAnswer:
        return FoldingAnswer(answer, self._part, self.clock_mhz)
