"""Cycles of a folded network, layer by layer, before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labd.figure import MODELLED, Figure
from labd.shown import Shown, terminal
from labd_host.drawing.node_names import shown_name
from labd_shared.rates import frames_per_s

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from labd_host.dataflow.cycles import NodeCycles
    from labd_host.dataflow.folded_chain import FoldedChain

NAMED = 3  # the bottleneck and the next two
PLACES = ("1st", "2nd", "3rd")


class CycleTable(Shown):
    """The cycle model of a folded network: cycles a frame of each node, the rate, and what limits it.

    Attributes:
        clock_mhz: Of the accelerator.
        bottleneck: Name of the slowest node.
    """

    def __init__(self, chain: FoldedChain, clock_mhz: float) -> None:
        from labd_host.dataflow.cycles import estimate
        from labd_host.dataflow.folding import folding_of

        self._chain, self.clock_mhz = chain, clock_mhz
        self._found = estimate(chain.layers, chain.inputs, chain.outputs)
        self._folds = folding_of(chain.layers)
        self.bottleneck = self._found.bottleneck

    @property
    def cycles_per_frame(self) -> Figure:
        """The initiation interval: the slowest node's."""
        return Figure(self._found.cycles_per_frame, "cycles", MODELLED)

    @property
    def frames_per_s(self) -> Figure:
        """The rate once the pipeline is full."""
        return Figure(self._found.frames_per_s(self.clock_mhz), "frames/s", MODELLED)

    def summary(self) -> str:
        return (
            f"{self._chain.name}: {self._found.cycles_per_frame:,} cycles a frame, {self.frames_per_s:,.0f} frames/s "
            f"at {self.clock_mhz:g} MHz ({MODELLED}), bound by {self.bottleneck}"
        )

    @property
    def record(self) -> dict[str, Any]:
        found = self._found
        return {
            "network": self._chain.name,
            "clock_mhz": self.clock_mhz,
            "nodes": [
                {
                    "name": node.name,
                    "op": node.op,
                    **self._folds.get(node.name, {}),
                    "cycles": node.cycles,
                    "restart_cycles": node.restart_cycles,
                    "interval_cycles": node.interval_cycles,
                }
                for node in found.nodes
            ],
            "cycles_per_frame": found.cycles_per_frame,
            "frames_per_s": float(self.frames_per_s),
            "slowest": [node.name for node in found.slowest(NAMED)],
        }

    def show(self, console: Console | None = None) -> None:
        console = console or terminal()
        found = self._found
        console.print(self._table())
        console.print(
            f"{found.cycles_per_frame:,} cycles a frame: {self.frames_per_s:,.0f} frames/s at {self.clock_mhz:g} MHz",
            soft_wrap=True,
        )
        first, *others = found.slowest(NAMED)
        console.print(f"bottleneck: {_words(first)}; then {', '.join(map(_words, others))}", soft_wrap=True)
        if first.op == "IODMA":
            alone = frames_per_s(self.clock_mhz, found.slowest_layer.interval_cycles)
            console.print(
                "the DMA is the ceiling and no folding moves it: "
                f"the layers alone would reach {alone:,.0f} frames/s",
                soft_wrap=True,
            )

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table

        found = self._found
        places = {node.name: PLACES[place] for place, node in enumerate(found.slowest(NAMED))}
        table = Table(title=f"{self._chain.name}, cycles a frame", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("node", no_wrap=True)
        for header in ("PE", "SIMD", "cycles", "restart", "share"):
            table.add_column(header, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for node in found.nodes:
            fold = self._folds.get(node.name, {})
            share = node.interval_cycles / found.cycles_per_frame
            counted = f"{node.cycles:,}" if node.name in self._folds else f"({node.cycles:,})"
            table.add_row(
                shown_name(node.name), str(fold.get("PE", "")), str(fold.get("SIMD", "")), counted,
                f"{node.restart_cycles or ''}", f"{share:.0%}", places.get(node.name, ""),
            )  # fmt: skip
        table.caption = "in brackets: what FINN counts as 0"
        return table


def _words(node: NodeCycles) -> str:
    restart = f" ({node.restart_cycles} of them to restart)" if node.restart_cycles else ""
    return f"{node.name}, {node.interval_cycles:,} cycles{restart}"
