"""Why a folding was chosen, layer by layer, and what FINN's SetFolding and the lab's hand folding cost instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding
from labd_host.dataflow.layers import Layer, WidthConverter
from labd_host.dataflow.resources import CostUnit, Resources
from labd_host.explore.calibration import Calibration
from labd_host.explore.choices import Choice, Costs, choices_of, stages_of
from labd_host.explore.cost_units import LEAST_SURE, units_of
from labd_host.explore.optimiser import Explorer, Solution
from labd_host.explore.set_folding import set_folding
from labd_host.simulate.behaviour import Behaviour, behaviour
from labd_shared.errors import IllegalFolding


@dataclass(frozen=True)
class LayerReport:
    """One layer of a folded design.

    Attributes:
        name: FINN's node name.
        folding: "PE 16, SIMD 3".
        memory: "block", "distributed", "" where it has none.
        cycles: A frame, as the model of costs counts them.
        finn: FINN's figures.
        calibrated: What synthesis is expected to report.
        why: A few words.
    """

    name: str
    folding: str
    memory: str
    cycles: int
    finn: Resources
    calibrated: Resources
    why: str


@dataclass(frozen=True)
class Rival:
    """Another folding of the same network.

    Attributes:
        name: "SetFolding", "lab".
        cycles: Of its slowest layer or width converter, a frame; no HLS unit starts again, as FINN counts.
        finn, calibrated: Its cells: the layers by FINN, everything as synthesis is expected to report it.
        settings: Its folding.
        fault: Why it cannot be built; "" where it can.
        latency_cycles: Of its first frame, simulated.
    """

    name: str
    cycles: int
    finn: Resources
    calibrated: Resources
    settings: Mapping[str, Mapping[str, Attribute]]
    fault: str = ""
    latency_cycles: int = 0


def finn_total(design: FoldedChain) -> Resources:
    """FINN's figures of all layers."""
    return sum(
        (layer.finn_estimate(design.settings.get(layer.name, {})) for layer in design.layers), Resources()
    )


def calibrated_total(
    design: FoldedChain, calibration: Calibration, depths: Mapping[int, int] | None = None
) -> tuple[Resources, Resources]:
    """Everything as synthesis is expected to report it, and how far that may be off.

    Units of a kind share coefficients, so their errors go together: they are added, not averaged out.

    Args:
        depths: Of the FIFOs, as `behaviour` has them; None: two words each, as the search counts them.
    """
    units = units_of(design, depths)
    return (
        sum((calibration.cost(unit) for unit in units), Resources()),
        sum((calibration.spread(unit) for unit in units), Resources()),
    )


def least_sure(
    design: FoldedChain, calibration: Calibration, depths: Mapping[int, int] | None = None
) -> dict[str, tuple[Resources, Resources]]:
    """What of `calibrated_total` rests on single figures of things that differ much: words -> cost, how far off."""
    found: dict[str, tuple[Resources, Resources]] = {}
    for unit in units_of(design, depths):
        if words := LEAST_SURE.get(unit.kind):
            cost, spread = found.get(words, (Resources(), Resources()))
            found[words] = cost + calibration.cost(unit), spread + calibration.spread(unit)
    return found


def explain(
    solution: Solution,
    costs: Costs,
    calibration: Calibration,
    cycles: int | None,
    waits_cycles: Mapping[str, int] | None = None,
) -> list[LayerReport]:
    """The layers of *solution*, each with why it is folded so.

    Args:
        cycles: It was chosen among those of at most so many cycles a frame; None: for its latency.
        waits_cycles: Layer -> for how long the first frame waits for it, where it was chosen for its latency.
    """
    reports = []
    design = solution.design
    slowest = max(costs.cycles(layer) for layer in design.layers)
    units: dict[str, CostUnit] = {unit.name: unit for unit in units_of(design)}
    for stage in stages_of(design):
        rate = "sets the rate; " if max(costs.cycles(layer) for layer in stage) == slowest else ""
        reason = "" if cycles is None else _why(stage, design, costs, cycles)
        for layer in stage:
            if cycles is None:
                reason = _waits((waits_cycles or {}).get(layer.name, 0))
            settings = design.settings[layer.name]
            reports.append(
                LayerReport(
                    layer.name,
                    folding_words(settings),
                    str(settings.get("ram_style", "")),
                    costs.cycles(layer),
                    layer.finn_estimate(settings),
                    calibration.cost(units[layer.name]),
                    rate + reason,
                )
            )
    return reports


def folding_words(settings: Mapping[str, Attribute]) -> str:
    """ "PE 16, SIMD 3" """
    words = [f"{key} {settings[key]}" for key in ("PE", "SIMD") if key in settings]
    return ", ".join(words + ["whole windows"] * bool(settings.get("parallel_window")))


def _why(stage: tuple[Layer, ...], design: FoldedChain, costs: Costs, cycles: int) -> str:
    fast = list(choices_of(stage, costs, cycles))
    nodes = {layer.name: design.settings[layer.name] for layer in stage}
    chosen = next(choice for choice in fast if _same(choice, nodes))
    alone = min(fast, key=lambda choice: (choice.cost.lut, choice.cost.bram18))
    caution = stage[0].caution()
    words = f"{caution}; " if caution else ""
    if alone.cost.lut == chosen.cost.lut:
        return f"{words}cheapest of {len(fast)} fast enough"
    extra = f"{chosen.cost.lut - alone.cost.lut:,.0f} LUT more, "
    if alone.cost.bram18 > chosen.cost.bram18:
        saved = alone.cost.bram18 - chosen.cost.bram18
        return f"{words}{extra}to leave {saved:,.0f} BRAM18"
    if (chosen.enters, chosen.leaves) != (alone.enters, alone.leaves):
        return f"{words}{extra}for its neighbours' widths"
    return f"{words}{extra}to keep the budgets"


def _same(choice: Choice, nodes: Mapping[str, Mapping[str, Attribute]]) -> bool:
    return all(
        nodes[name].get(key) == value for name, each in choice.settings.items() for key, value in each.items()
    )


def _waits(cycles: int) -> str:
    return (
        f"the first frame waits {cycles:,} cycles for it" if cycles else "the first frame never waits for it"
    )


def rival(design: FoldedChain, folding: Folding, calibration: Calibration, *, dma: bool = True) -> Rival:
    """What *folding* of the network costs, and how soon its first frame is out, with the DMAs or without."""
    try:
        folded = design.folded(folding)
    except IllegalFolding as error:
        return Rival(folding.name, 0, Resources(), Resources(), {}, error.what)
    return judged(folding.name, folded, calibration, behaviour(folded, dma=dma))


def judged(name: str, folded: FoldedChain, calibration: Calibration, ran: Behaviour) -> Rival:
    """What the folded design costs that ran so."""
    return Rival(
        name,
        max(node.cycles for node in estimate(folded.layers, (), ()).nodes),
        finn_total(folded),
        calibrated_total(folded, calibration, ran.depths)[0],
        folded.settings,
        latency_cycles=ran.latency_cycles,
    )


def set_folding_rival(
    design: FoldedChain, cycles: int, calibration: Calibration, *, dma: bool = True
) -> Rival:
    """What FINN's SetFolding finds for *cycles* cycles a frame."""
    return rival(design, set_folding(design, cycles), calibration, dma=dma)


def cheapest_beside(explorer: Explorer, folded: FoldedChain) -> Solution:
    """The cheapest folding at the cycles of *folded*, with *explorer*'s budgets or what that takes itself.

    Never more LUT than *folded*, nor more cycles, by the costs of *explorer*.
    """
    cycles = max(explorer.least_cycles, slowest_cycles(folded, explorer.costs))
    return _with_its_cells(explorer, folded, least=explorer.budgets).cheapest(cycles)


def slowest_cycles(folded: FoldedChain, costs: Costs) -> int:
    """A frame in the slowest layer or width converter, as *costs* count."""
    converters = [
        node.cycles for node in estimate(folded.layers, (), ()).nodes if node.op == WidthConverter.op
    ]
    return max(*converters, *(costs.cycles(layer) for layer in folded.layers))


def fastest_beside(explorer: Explorer, folded: FoldedChain) -> Solution:
    """The fastest folding of no more LUT, BRAM18 and DSP than *folded* by the costs of *explorer*."""
    return _with_its_cells(explorer, folded, least={}).fastest()


def _with_its_cells(explorer: Explorer, folded: FoldedChain, least: Mapping[str, int]) -> Explorer:
    """*explorer* with what *folded* spends as budgets, where that is more than *least*."""
    spent = explorer.costs.total(folded)
    budgets = {
        cell: max(least.get(cell, 0), math.ceil(getattr(spent, cell))) for cell in ("lut", "bram18", "dsp")
    }
    if "ff" in least:
        budgets["ff"] = max(least["ff"], math.ceil(spent.ff))
    return Explorer(explorer.design, explorer.costs, budgets, dma=explorer.dma)


def suggestions(
    folded: FoldedChain, better: Solution, costs: Costs, calibration: Calibration
) -> list[LayerReport]:
    """The layers of a folding that was given, each with what *better*, the cheapest at its cycles, does instead."""
    reports = []
    slowest = max(costs.cycles(layer) for layer in folded.layers)
    units = {unit.name: unit for unit in units_of(folded)}
    for layer, instead in zip(folded.layers, better.design.layers, strict=True):
        settings, others = folded.settings[layer.name], better.design.settings[layer.name]
        cycles = costs.cycles(layer)
        words = ["sets the rate"] if cycles == slowest else []
        ours, theirs = costs.layer(layer, settings), costs.layer(instead, others)
        if folding_words(settings) != folding_words(others) or ours != theirs:
            words.append(_instead(ours, theirs, others))
        reports.append(
            LayerReport(
                layer.name,
                folding_words(settings),
                str(settings.get("ram_style", "")),
                cycles,
                layer.finn_estimate(settings),
                calibration.cost(units[layer.name]),
                "; ".join(words) or "as it is best",
            )
        )
    return reports


def _instead(ours: Resources, theirs: Resources, settings: Mapping[str, Attribute]) -> str:
    words = [folding_words(settings), str(settings.get("ram_style", ""))]
    changes = [
        f"{new - old:+,.0f} {name}"
        for name, old, new in (("LUT", ours.lut, theirs.lut), ("BRAM18", ours.bram18, theirs.bram18))
        if round(new - old)
    ]
    return f"{' '.join(word for word in words if word)} instead: {', '.join(changes) or 'costs the same'}"
