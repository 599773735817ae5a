"""Why a folding was chosen, layer by layer, and what FINN's SetFolding and the lab's hand folding cost instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labd_host.emulation.golden_layers import LabelSelect, Layer
from labd_host.explore.calibration import Calibration
from labd_host.explore.choices import Choice, Costs, choices_of, stages_of
from labd_host.explore.cycles import layer_cycles
from labd_host.explore.design import Design
from labd_host.explore.inventory import Unit, units_of
from labd_host.explore.optimiser import Solution
from labd_host.explore.resources import Resources, finn_estimate
from labd_host.explore.set_folding import set_folding
from labd_host.flow.folding import Attribute, Folding
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
        cycles: Of its slowest layer, a frame.
        finn, calibrated: Its cells: the layers by FINN, everything as synthesis is expected to report it.
        settings: Its folding.
        fault: Why it cannot be built; "" where it can.
    """

    name: str
    cycles: int
    finn: Resources
    calibrated: Resources
    settings: Mapping[str, Mapping[str, Attribute]]
    fault: str = ""


def finn_total(design: Design) -> Resources:
    """FINN's figures of all layers."""
    return sum(
        (finn_estimate(layer, design.settings.get(layer.name, {})) for layer in design.layers), Resources()
    )


def calibrated_total(design: Design, calibration: Calibration) -> tuple[Resources, Resources]:
    """Everything as synthesis is expected to report it, and how far that may be off.

    Units of a kind share coefficients, so their errors go together: they are added, not averaged out.
    """
    units = units_of(design)
    return (
        sum((calibration.cost(unit) for unit in units), Resources()),
        sum((calibration.spread(unit) for unit in units), Resources()),
    )


def explain(
    solution: Solution, costs: Costs, calibration: Calibration, cycles: int | None
) -> list[LayerReport]:
    """The layers of *solution*, chosen among those of at most *cycles* cycles a frame; None: for latency."""
    reports = []
    design = solution.design
    slowest = max(costs.cycles(layer) for layer in design.layers)
    units: dict[str, Unit] = {unit.name: unit for unit in units_of(design)}
    for stage in stages_of(design):
        rate = "sets the rate; " if max(costs.cycles(layer) for layer in stage) == slowest else ""
        why = rate + (_QUICK if cycles is None else _why(stage, design, costs, cycles))
        for layer in stage:
            settings = design.settings[layer.name]
            reports.append(
                LayerReport(
                    layer.name,
                    folding_words(settings),
                    str(settings.get("ram_style", "")),
                    costs.cycles(layer),
                    finn_estimate(layer, settings),
                    calibration.cost(units[layer.name]),
                    why,
                )
            )
    return reports


def folding_words(settings: Mapping[str, Attribute]) -> str:
    """ "PE 16, SIMD 3" """
    words = [f"{key} {settings[key]}" for key in ("PE", "SIMD") if key in settings]
    return ", ".join(words + ["whole windows"] * bool(settings.get("parallel_window")))


_QUICK = "a shorter sum of cycles breaks a budget"


def _why(stage: tuple[Layer, ...], design: Design, costs: Costs, cycles: int) -> str:
    fast = list(choices_of(stage, costs, cycles))
    nodes = {layer.name: design.settings[layer.name] for layer in stage}
    chosen = next(choice for choice in fast if _same(choice, nodes))
    alone = min(fast, key=lambda choice: (choice.cost.lut, choice.cost.bram18))
    words = ""
    if isinstance(stage[0], LabelSelect) and stage[0].pe > 1:
        words += "above PE 1 it seldom closes timing; "
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


def rival(design: Design, folding: Folding, calibration: Calibration) -> Rival:
    """What *folding* of the network costs."""
    try:
        folded = design.folded(folding)
    except IllegalFolding as error:
        return Rival(folding.name, 0, Resources(), Resources(), {}, error.what)
    cycles = max(layer_cycles(layer) for layer in folded.layers)
    total, _ = calibrated_total(folded, calibration)
    return Rival(folding.name, cycles, finn_total(folded), total, folded.settings)


def set_folding_rival(design: Design, cycles: int, calibration: Calibration) -> Rival:
    """What FINN's SetFolding finds for *cycles* cycles a frame."""
    return rival(design, set_folding(design, cycles), calibration)
