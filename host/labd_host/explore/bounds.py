"""What no folding of a network surpasses on a part: the frontier of speed and LUTs, and the most it computes."""

from __future__ import annotations

from dataclasses import dataclass

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.parts import Part
from labd_host.explore import calibration
from labd_host.explore.choices import calibrated_costs
from labd_host.explore.optimiser import Explorer
from labd_shared.errors import UsageError

BUDGETED = ("lut", "ff", "bram18", "dsp")


@dataclass(frozen=True)
class Bounds:
    """Of a network on a part that may be filled wholly.

    Attributes:
        part: The part.
        cycles: A frame, of each folding of the frontier, slowest first.
        lut: Of each of them, ascending: no folding is as fast with fewer, as far as the cost model knows.
        least_cycles: A frame of the fastest folding that fits, were there no DMA; 0 where none fits.
    """

    part: Part
    cycles: tuple[int, ...]
    lut: tuple[float, ...]
    least_cycles: int


def bounds(design: FoldedChain, part: Part) -> Bounds:
    """The bounds of *design*, in any folding; exact, by the optimiser, about a second for CNV."""
    costs = calibrated_costs(calibration.load())
    budgets = {cell: int(getattr(part.holds, cell)) for cell in BUDGETED}
    try:
        frontier = list(Explorer(design, costs, budgets).frontier())
        least = Explorer(design, costs, budgets, dma=False).fastest().cycles
    except UsageError:  # not even the slowest folding fits, or not even the shell does
        return Bounds(part, (), (), 0)
    return Bounds(
        part, tuple(each.cycles for each in frontier), tuple(each.cost.lut for each in frontier), least
    )
