"""What ``labd explore`` says of one folding: its layers, its cells, how it runs, and what others cost beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from labd_host.dataflow.cycles import CycleEstimate, estimate
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.dataflow.parts import Part
from labd_host.dataflow.presets import PRESETS
from labd_host.dataflow.resources import Resources
from labd_host.drawing.node_names import shown_name
from labd_host.explore.calibration import Calibration
from labd_host.explore.latency import Quickest
from labd_host.explore.optimiser import Explorer, Solution
from labd_host.explore.rivals import (
    LayerReport,
    Rival,
    calibrated_total,
    cheapest_beside,
    explain,
    fastest_beside,
    finn_total,
    judged,
    least_sure,
    rival,
    set_folding_rival,
    slowest_cycles,
    suggestions,
)
from labd_host.simulate.behaviour import Behaviour, behaviour
from labd_shared.rates import frames_per_s

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

CELLS = {"lut": "LUT", "ff": "FF", "bram18": "BRAM18", "dsp": "DSP"}
SET_FOLDING, LAB = "SetFolding", "lab"
AS_FAST, AS_SMALL = "cheapest as fast", "fastest as small"


@dataclass(frozen=True)
class Answer:
    """One folding and all that is told about it.

    Attributes:
        design: The network, folded.
        costs: "finn" or "calibrated".
        expected: The cycle model, restarts of HLS units counted whatever the costs are.
        layers: With the reason or the suggestion for each.
        finn, calibrated, spread: FINN's figures of the layers; everything as synthesis is expected to
            report it, FIFOs as deep as FINN makes them; and how far that may be off.
        fifos: What of *calibrated* is for FIFOs of more than two words, which the search does not count.
        least_sure: What of *calibrated* is least sure, in words -> that, and how far it may be off.
        ran: How it ran in the simulator.
        beside: What it is called in the table -> this folding and others.
        proof: What is proven of it and what is not, a sentence.
        why: Heading of the reasons.
    """

    design: FoldedChain
    costs: str
    expected: CycleEstimate
    layers: list[LayerReport]
    finn: Resources
    calibrated: Resources
    spread: Resources
    fifos: Resources
    least_sure: Mapping[str, tuple[Resources, Resources]]
    ran: Behaviour
    beside: Mapping[str, Rival]
    proof: str
    why: str

    @property
    def slowest_cycles(self) -> int:
        """Of the slowest layer, converter or DMA, HLS units not restarted: as FINN counts."""
        return max(node.cycles for node in self.expected.nodes)

    def as_record(self, clock_mhz: float) -> dict[str, Any]:
        """The answer as JSON-able data."""
        return {
            "network": self.design.name,
            "costs": self.costs,
            "cycles_per_frame": self.slowest_cycles,
            "interval_cycles": self.expected.cycles_per_frame,
            "frames_per_s": self.expected.frames_per_s(clock_mhz),
            "clock_mhz": clock_mhz,
            "sum_of_layers_cycles": self.expected.latency_cycles,
            "simulated_latency_cycles": self.ran.latency_cycles,
            "simulated_interval_cycles": self.ran.interval_cycles,
            "simulated_interval_cycles_without_full_fifos": self.ran.free_interval_cycles,
            "bottleneck": self.expected.bottleneck,
            "finn": asdict(self.finn),
            "calibrated": asdict(self.calibrated),
            "calibrated_plus_minus": asdict(self.spread),
            "calibrated_of_deep_fifos": asdict(self.fifos),
            "calibrated_least_sure": {
                words: {"calibrated": asdict(cost), "plus_minus": asdict(spread)}
                for words, (cost, spread) in self.least_sure.items()
            },
            "fifo_depths": list(self.ran.depths.values()),
            "layers": [asdict(layer) for layer in self.layers],
            "compared": {name.strip(): asdict(other) for name, other in self.beside.items()},
            "proof": self.proof,
            "folding": {name: dict(settings) for name, settings in self.design.settings.items()},
        }


def found(
    explorer: Explorer, known: Calibration, answer: Solution | Quickest, cycles: int | None = None
) -> Answer:
    """What the search found.

    Args:
        answer: It; a `Quickest` was chosen for its latency.
        cycles: The most cycles a frame that were asked for; None: as few as there can be.
    """
    kept = ", ".join(f"{many:,} {CELLS[cell]}" for cell, many in explorer.budgets.items())
    costs = explorer.costs
    if isinstance(answer, Quickest):
        solution = answer.solution
        layers = explain(solution, costs, known, None, answer.waits_cycles)
        proof = (
            f"the quickest of {answer.simulated} foldings that were simulated, each within {kept} by the costs called "
            f"{costs.name!r}; not proven to be the quickest of all, but none of them can be below "
            f"{answer.least_cycles:,} cycles"
        )
    else:
        solution = answer
        cycles = cycles or solution.cycles
        layers = explain(solution, costs, known, cycles)
        proof = f"exact for the costs called {costs.name!r}, within {kept}; latency and FIFOs by simulation"
    ran = behaviour(solution.design, dma=explorer.dma)
    beside = {"this folding": judged("optimised", solution.design, known, ran)}
    beside.update(_others(explorer, known, cycles or solution.cycles))
    return _answer(explorer, known, solution.design, layers, ran, beside, proof, "why this folding")


def given(explorer: Explorer, known: Calibration, folding: Folding) -> Answer:
    """A folding that the user has: how far from the best it is, and what to change."""
    design = explorer.design.folded(folding)
    better, faster = cheapest_beside(explorer, design), fastest_beside(explorer, design)
    ran = behaviour(design, dma=explorer.dma)
    beside = {"this folding": judged(folding.name, design, known, ran)}
    for name, solution in ((f"  {AS_FAST}", better), (f"  {AS_SMALL}", faster)):
        beside[name] = judged(
            "optimised", solution.design, known, behaviour(solution.design, dma=explorer.dma)
        )
    cycles = slowest_cycles(design, explorer.costs)
    beside.update(_others(explorer, known, cycles))
    layers = suggestions(design, better, explorer.costs, known)
    spent, least = explorer.costs.total(design).lut, better.cost.lut
    slower = max(explorer.least_cycles, cycles) / faster.cycles
    proof = (
        f"by the costs called {explorer.costs.name!r} the cheapest folding at its cycles has {1 - least / spent:.1%} "
        f"less LUT, the fastest within its LUT, BRAM18 and DSP {slower - 1:.1%} more frames/s; both exact"
    )
    return _answer(explorer, known, design, layers, ran, beside, proof, "what to change, at these cycles")


def _answer(
    explorer: Explorer, known: Calibration, design: FoldedChain, layers: list[LayerReport], ran: Behaviour,
    beside: Mapping[str, Rival], proof: str, why: str,
) -> Answer:  # fmt: skip
    shallow, _ = calibrated_total(design, known)
    total, spread = calibrated_total(design, known, ran.depths)
    edges = (design.inputs, design.outputs) if explorer.dma else ((), ())
    return Answer(
        design=design,
        costs=explorer.costs.name,
        expected=estimate(design.layers, *edges),
        layers=layers,
        finn=finn_total(design),
        calibrated=total,
        spread=spread,
        fifos=total - shallow,
        least_sure=least_sure(design, known, ran.depths),
        ran=ran,
        beside=beside,
        proof=proof,
        why=why,
    )


def _others(explorer: Explorer, known: Calibration, cycles: int) -> Iterator[tuple[str, Rival]]:
    """SetFolding's and the lab's, each with the best at its own cycles."""
    network = explorer.design
    others = {("FINN's SetFolding", "it"): set_folding_rival(network, cycles, known, dma=explorer.dma)}
    if LAB in PRESETS.get(network.name, {}):
        others["lab's, by hand", "lab's"] = rival(
            network, load_folding(LAB, network.name), known, dma=explorer.dma
        )
    for (name, short), other in others.items():
        yield name, other
        if not other.fault:
            beside = cheapest_beside(explorer, network.folded(Folding(other.name, other.settings, {})))
            ran = behaviour(beside.design, dma=explorer.dma)
            yield f"  best as fast as {short}", judged("optimised", beside.design, known, ran)


def show(console: Console, answer: Answer, part: Part, clock_mhz: float) -> None:
    """Print *answer*."""
    expected, slowest = answer.expected, answer.slowest_cycles
    taken = expected.cycles_per_frame
    restarts = f", {taken:,} with restarts of HLS units" if taken > slowest else ""
    console.print(
        f"{answer.design.name}: {slowest:,} cycles a frame{restarts}, bound by {expected.bottleneck}: "
        f"{expected.frames_per_s(clock_mhz):,.0f} frames/s at {clock_mhz:g} MHz (cycle model)",
        soft_wrap=True,
    )
    ran = answer.ran
    console.print(
        f"simulated, FIFOs as deep as FINN makes them: the first frame after {ran.latency_cycles:,} cycles "
        f"({ran.latency_cycles / clock_mhz:,.1f} us), then one every {ran.interval_cycles:,.10g}{_slowed(answer)}",
        soft_wrap=True,
    )
    console.print(_layer_table(answer.layers))
    console.print(_why_table(answer))
    console.print(_total_table(answer, part))
    console.print(_beside_table(answer, clock_mhz))
    console.print(answer.proof, soft_wrap=True)


def _slowed(answer: Answer) -> str:
    if answer.ran.interval_cycles <= answer.ran.free_interval_cycles:
        return ""
    return f" (deeper ones would allow {answer.ran.free_interval_cycles:,.10g}: labd simulate --size-fifos)"


def table(*columns: str) -> Table:
    """An unboxed table, all columns but the first aligned to the right."""
    from rich.table import Table

    made = Table(*columns, box=None, pad_edge=False)
    for column in made.columns[1:]:
        column.justify = "right"
    return made


def _layer_table(layers: list[LayerReport]) -> Table:
    made = table("layer", "folding", "memory", "cycles", "LUT", "expected", "BRAM18")
    made.columns[1].justify = made.columns[2].justify = "left"
    for layer in layers:
        made.add_row(
            shown_name(layer.name),
            layer.folding,
            layer.memory,
            f"{layer.cycles:,}",
            f"{layer.finn.lut:,.0f}",
            f"{layer.calibrated.lut:,.0f}",
            f"{layer.calibrated.bram18:,.0f}",
        )
    return made


def _why_table(answer: Answer) -> Table:
    made = table("layer", answer.why)
    made.columns[1].justify = "left"
    for layer in answer.layers:
        made.add_row(shown_name(layer.name), layer.why)
    return made


def _total_table(answer: Answer, part: Part) -> Table:
    made = table("", "LUT", "FF", "BRAM18", "DSP")
    made.add_row("layers, by FINN", *_cells(answer.finn, unknown=("ff",)))
    made.add_row("everything, expected", *_cells(answer.calibrated))
    made.add_row("  give or take", *_cells(answer.spread, unknown=("bram18", "dsp")))
    made.add_row("  of it, FIFOs above 2 words", *_cells(answer.fifos))
    for words, (cost, spread) in answer.least_sure.items():
        made.add_row(f"  of it, {words}", *_cells(cost))
        made.add_row("    give or take", *_cells(spread, unknown=("bram18", "dsp")))
    shares = [f"{getattr(answer.calibrated, cell) / getattr(part.holds, cell):.0%}" for cell in CELLS]
    made.add_row(f"  of the {part.name}", *shares)
    return made


def _cells(cost: Resources, unknown: tuple[str, ...] = ()) -> list[str]:
    return ["-" if cell in unknown else f"{getattr(cost, cell):,.0f}" for cell in CELLS]


def _beside_table(answer: Answer, clock_mhz: float) -> Table:
    made = table("compared, by FINN", "cycles", "frames/s", "LUT", "BRAM18", "expected", "latency")
    for name, other in answer.beside.items():
        if other.fault:
            made.add_row(f"{name}: illegal", *[""] * 6)
            continue
        made.add_row(
            name,
            f"{other.cycles:,}",
            f"{frames_per_s(clock_mhz, other.cycles):,.0f}",
            f"{other.finn.lut:,.0f}",
            f"{other.finn.bram18:,.0f}",
            f"{other.calibrated.lut:,.0f}",
            f"{other.latency_cycles:,}",
        )
    made.caption = "expected: LUT of everything; latency: cycles to the first frame, simulated"
    return made
