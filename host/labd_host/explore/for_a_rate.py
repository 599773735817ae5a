"""A folding that labd chooses: the cheapest for a rate, or the fastest that the FPGA has room for.

The search is that of `labd explore`, exact: by FINN's own estimates of the layers, within the share of the FPGA
that AMD recommends to fill; the rest is for FIFOs, width converters, DMAs and the shell. The cycles are those
a board takes, with restarts of HLS units, width converters and DMAs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labd_host.dataflow.folding import Attribute
from labd_host.dataflow.layers import Network
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.dataflow.design import Design
    from labd_host.explore.optimiser import Budgets, Explorer


@dataclass(frozen=True)
class Wanted:
    """What a folding is to reach.

    Attributes:
        frames_per_s: The least rate; None for as fast as the FPGA has room for.
        clock_mhz: At this clock.
    """

    frames_per_s: float | None
    clock_mhz: float

    @property
    def cycles_per_frame(self) -> int | None:
        """The most cycles a frame may take; None for as few as there is room for."""
        if self.frames_per_s is None:
            return None
        cycles = self.clock_mhz * 1e6 / self.frames_per_s
        return math.floor(cycles * (1 + 1e-12))  # a rate that was made of whole cycles gives them back


def choose_folding(network: Network | Design, wanted: Wanted) -> dict[str, dict[str, Attribute]]:
    """The folding of *network* for *wanted*: node name -> attribute -> value.

    Raises:
        UsageError: no folding is that fast, or none of those is small enough.
    """
    from labd_host.dataflow.parts import part_of
    from labd_host.explore.optimiser import CELLS

    cycles, room = wanted.cycles_per_frame, part_of(PYNQ_Z2_PART).recommended
    explorer = _explorer(network, {cell: int(getattr(room, cell)) for cell in CELLS})
    try:
        return (explorer.fastest() if cycles is None else explorer.cheapest(cycles)).folding
    except UsageError as error:
        _check_reachable(wanted, network)  # no larger FPGA would help: that is said first
        raise UsageError(
            error.what,
            fix=f"ask for less, or raise the budgets: labd explore {network.name} has options for them, and -o FILE "
            "for --folding",
        ) from error


def _check_reachable(wanted: Wanted, network: Network | Design) -> None:
    """Refuse a rate that no folding of *network* reaches, however large.

    Raises:
        UsageError: naming the layer or DMA that is too slow, and the most there is.
    """
    from labd_shared.rates import frames_per_s

    cycles = wanted.cycles_per_frame
    if cycles is None:
        return
    explorer = _explorer(network, {})
    fastest = explorer.fastest()
    if fastest.cycles <= cycles:
        return
    name, least = explorer.expected(fastest).bottleneck, fastest.cycles
    edges = [tensor.dma for tensor in (*network.inputs, *network.outputs)]
    limit = (
        f"the DMA {name} needs {least}, whatever the folding"
        if name in edges
        else f"{name} needs {least} in the fastest folding there is"
    )
    most = frames_per_s(wanted.clock_mhz, least)
    raise UsageError(
        f"{wanted.frames_per_s:,.0f} frames/s at {wanted.clock_mhz:g} MHz leave {cycles} cycles for a frame, "
        f"but {limit}: {most:,.0f} frames/s is the most",
        fix=f"ask for --target-fps {math.floor(most)} or less, or for a faster clock with --clock-mhz",
        node=name,
        cycles=least,
        cycles_wanted=cycles,
    )


def _explorer(network: Network | Design, budgets: Budgets) -> Explorer:
    from labd_host.dataflow.design import Design
    from labd_host.explore import calibration
    from labd_host.explore.choices import calibrated_costs, finn_costs
    from labd_host.explore.optimiser import Explorer

    # What ships, not what the user's reports taught: the same network is compiled alike everywhere.
    known = calibration.read(calibration.SHIPPED)
    costs = replace(finn_costs(known), cycles=calibrated_costs(known).cycles)
    return Explorer(Design(network.name, network.layers, network.inputs, network.outputs), costs, budgets)
