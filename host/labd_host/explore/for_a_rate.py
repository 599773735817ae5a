"""Foldings that labd chooses: the cheapest for a rate, the fastest that the FPGA has room for, the cheapest of all.

The search is that of `labd explore`, exact: by FINN's own estimates of the layers, within the share of the FPGA
that AMD recommends to fill; the rest is for FIFOs, width converters, DMAs and the shell. The cycles are those
a board takes, with restarts of HLS units, width converters and DMAs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.folding import FoldableNetwork
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import UsageError

if TYPE_CHECKING:
    from labd_host.explore.optimiser import Budgets, Explorer

UNHURRIED_CYCLES = 1 << 40  # a frame: three hours at 100 MHz, more than any layer takes one value a cycle


def most_cycles(frames_per_s: float, clock_mhz: float) -> int:
    """The most cycles a frame may take at *frames_per_s*."""
    cycles = clock_mhz * 1e6 / frames_per_s
    return math.floor(cycles * (1 + 1e-12))  # a rate that was made of whole cycles gives them back


@dataclass(frozen=True)
class FoldingForRate:
    """The cheapest folding for a rate.

    Attributes:
        frames_per_s: The least rate.
        clock_mhz: At this clock.
    """

    frames_per_s: float
    clock_mhz: float

    @property
    def cycles_per_frame(self) -> int:
        """The most cycles a frame may take."""
        return most_cycles(self.frames_per_s, self.clock_mhz)

    @property
    def rate(self) -> str:
        """The rate for people."""
        return f"{self.frames_per_s:,.0f} frames/s at {self.clock_mhz:g} MHz"

    @property
    def name(self) -> str:
        """What people call this folding."""
        return f"the cheapest for {self.rate}"

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides on the settings besides the network."""
        return {"part": PYNQ_Z2_PART, "cycles_per_frame": self.cycles_per_frame}

    def settings_for(self, network: FoldableNetwork) -> dict[str, dict[str, Attribute]]:
        """The settings: node name -> attribute -> value.

        Raises:
            UsageError: no folding is that fast, or none of those is small enough.
        """
        try:
            return _explorer(network, _room()).cheapest(self.cycles_per_frame).folding
        except UsageError as error:
            self._check_reachable(network)  # no larger FPGA would help: that is said first
            raise _with_budgets(error, network) from error

    def _check_reachable(self, network: FoldableNetwork) -> None:
        """Refuse a rate that no folding of *network* reaches, however large.

        Raises:
            UsageError: naming the layer or DMA that is too slow, and the most there is.
        """
        from labd_shared.rates import frames_per_s

        explorer = _explorer(network, {})
        fastest = explorer.fastest()
        if fastest.cycles <= self.cycles_per_frame:
            return
        name, least = explorer.expected(fastest).bottleneck, fastest.cycles
        edges = [tensor.dma for tensor in (*network.inputs, *network.outputs)]
        limit = (
            f"the DMA {name} needs {least}, whatever the folding"
            if name in edges
            else f"{name} needs {least} in the fastest folding there is"
        )
        most = frames_per_s(self.clock_mhz, least)
        raise UsageError(
            f"{self.rate} leave {self.cycles_per_frame} cycles for a frame, "
            f"but {limit}: {most:,.0f} frames/s is the most",
            fix=f"ask for --target-fps {math.floor(most)} or less, or for a faster clock with --clock-mhz",
            node=name,
            cycles=least,
            cycles_wanted=self.cycles_per_frame,
        )


@dataclass(frozen=True)
class FastestFolding:
    """The fastest folding that the FPGA has room for, the cheapest of those."""

    @property
    def name(self) -> str:
        """What people call this folding."""
        return f"the fastest that {PYNQ_Z2_PART} has room for"

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides on the settings besides the network."""
        return {"part": PYNQ_Z2_PART, "cycles_per_frame": None}

    def settings_for(self, network: FoldableNetwork) -> dict[str, dict[str, Attribute]]:
        """The settings: node name -> attribute -> value.

        Raises:
            UsageError: no folding is small enough.
        """
        try:
            return _explorer(network, _room()).fastest().folding
        except UsageError as error:
            raise _with_budgets(error, network) from error


@dataclass(frozen=True)
class CheapestFolding:
    """The cheapest folding there is, however slow, whatever FPGA it needs: for networks that are only computed."""

    @property
    def name(self) -> str:
        """What people call this folding."""
        return "the cheapest there is"

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides on the settings besides the network."""
        return {"cycles_per_frame": UNHURRIED_CYCLES}

    def settings_for(self, network: FoldableNetwork) -> dict[str, dict[str, Attribute]]:
        """The settings: node name -> attribute -> value."""
        return _explorer(network, {}).cheapest(UNHURRIED_CYCLES).folding


def _with_budgets(error: UsageError, network: FoldableNetwork) -> UsageError:
    """*error* of a search, with the way to other budgets."""
    return UsageError(
        error.what,
        fix=f"ask for less, or raise the budgets: labd explore {network.name} has options for them, and -o FILE "
        "for --folding",
    )


def _room() -> Budgets:
    """What AMD recommends to fill of the board's FPGA."""
    from labd_host.dataflow.parts import part_of
    from labd_host.explore.optimiser import CELLS

    recommended = part_of(PYNQ_Z2_PART).recommended
    return {cell: int(getattr(recommended, cell)) for cell in CELLS}


def _explorer(network: FoldableNetwork, budgets: Budgets) -> Explorer:
    from labd_host.dataflow.folded_chain import FoldedChain
    from labd_host.explore import calibration
    from labd_host.explore.choices import calibrated_costs, finn_costs
    from labd_host.explore.optimiser import Explorer

    # What ships, not what the user's reports taught: the same network is compiled alike everywhere.
    known = calibration.read(calibration.SHIPPED)
    costs = replace(finn_costs(known), cycles=calibrated_costs(known).cycles)
    return Explorer(
        FoldedChain(network.name, network.layers, network.inputs, network.outputs), costs, budgets
    )
