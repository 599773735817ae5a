"""A folding that labd chooses: for a rate, or as fast as the FPGA has room for.

FINN's own SetFolding decides, layer by layer. Where its choice misses the target (it makes weights 36 bits
wide at most, and counts no restart of HLS units) or is none FINN can build (it knows no least SIMD), the
smallest legal PE * SIMD that meets the target takes its place. The result is legal and meets the target; it is
not the cheapest one that does.

"As fast as there is room for" is a search over such targets, by FINN's own estimates, within the share of the
FPGA that FINN recommends to fill; the rest is for FIFOs, width converters, DMAs and the shell.

Source: finn-plus 1.6.1, transformation/fpgadataflow/set_folding.py; util/platforms.py DEFAULT_RES_LIMITS.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from labd_host.emulation.golden_layers import Layer, MaxPool, Network, SlidingWindow
from labd_host.explore.cycles import dma_cycles, frames_per_s, layer_cycles
from labd_host.explore.programs import restart_cycles
from labd_host.flow.folding import Attribute, legal_foldings, refolded, settings_of
from labd_shared.errors import UsageError
from labd_shared.tensors import Tensor

Settings = dict[str, dict[str, Attribute]]
Named = tuple[str, int]  # a node and the cycles it takes for a frame


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


class AutoFolding:
    """Chooses foldings of one network.

    Args:
        network: The network, folded anyhow.
        propose: SetFolding: cycles a frame -> node name -> attributes.
        estimate: FINN's estimate of what a folding takes: resource -> how many.
    """

    def __init__(
        self,
        network: Network,
        propose: Callable[[int], Mapping[str, Mapping[str, Attribute]]],
        estimate: Callable[[Settings], Mapping[str, int]],
    ) -> None:
        self._layers = network.layers
        self._propose = propose
        self._estimate = estimate
        self._tensors = (*network.inputs, *network.outputs)
        self._options = [_Options(group) for group in _groups(network.layers)]

    def choose(self, wanted: Wanted, budget: Mapping[str, int]) -> Settings:
        """The folding for *wanted*: node name -> attribute -> value.

        Args:
            wanted: Rate and clock.
            budget: Resource -> how many may be taken, where no rate is wanted.

        Raises:
            UsageError: no folding is that fast, or none is small enough.
        """
        cycles = wanted.cycles_per_frame
        if cycles is None:
            return self._fastest_within(budget)
        check_reachable(wanted, self._layers, self._tensors)
        return self._meeting(cycles)

    def _meeting(self, cycles: int) -> Settings:
        """A legal folding in which no layer takes more than *cycles*, which every layer can do."""
        proposed = self._propose(cycles)
        found: Settings = {}
        for option in self._options:
            found.update(option.meeting(cycles, proposed))
        return found

    def _fastest_within(self, budget: Mapping[str, int]) -> Settings:
        floor = max(_slowest_dma(self._tensors)[1], *(option.fastest[1] for option in self._options))
        targets = sorted(
            {floor, *(each for option in self._options for each in option.rates if each > floor)}
        )

        def fits(cycles: int) -> bool:
            return not _beyond(self._estimate(self._meeting(cycles)), budget)

        place = bisect_left(targets, True, key=fits)  # fewer cycles take more: not strictly, but nearly
        if place == len(targets):
            beyond = _beyond(self._estimate(self._meeting(targets[-1])), budget)
            kind, (sums, most) = next(iter(beyond.items()))
            raise UsageError(
                f"even the slowest folding takes {sums} {kind} by FINN's estimate, "
                f"{most} is what FINN recommends to fill",
                fix="give a folding of your own with --folding FILE, or make the network smaller",
            )
        return self._meeting(targets[place])


def check_reachable(wanted: Wanted, layers: Sequence[Layer], tensors: Sequence[Tensor]) -> None:
    """Refuse a rate that no folding reaches.

    Args:
        wanted: Rate and clock.
        layers: The network's, folded anyhow.
        tensors: Its inputs and outputs.

    Raises:
        UsageError: naming the layer or DMA that is too slow, and the most there is.
    """
    cycles = wanted.cycles_per_frame
    if cycles is None:
        return
    dma = _slowest_dma(tensors)
    layer = max((_Options(group).fastest for group in _groups(layers)), key=_cycles)
    name, least = max(dma, layer, key=_cycles)
    if least <= cycles:
        return
    limit = (
        f"the DMA {name} needs {least}, whatever the folding"
        if (name, least) == dma
        else f"{name} needs {least} in its widest legal folding"
    )
    fastest = frames_per_s(wanted.clock_mhz, least)
    raise UsageError(
        f"{wanted.frames_per_s:,.0f} frames/s at {wanted.clock_mhz:g} MHz leave {cycles} cycles for a frame, "
        f"but {limit}: {fastest:,.0f} frames/s is the most",
        fix=f"ask for --target-fps {math.floor(fastest)} or less, or for a faster clock with --clock-mhz",
        node=name,
        cycles=least,
        cycles_wanted=cycles,
    )


def _interval_cycles(layer: Layer) -> int:
    """From the beginning of one frame to that of the next; the width converters are never the slowest."""
    return layer_cycles(layer) + restart_cycles(layer)


def _slowest_dma(tensors: Sequence[Tensor]) -> Named:
    return max(((tensor.dma, dma_cycles(tensor)) for tensor in tensors), key=_cycles)


class _Options:
    """What a layer, or a pool with the window that feeds it, can be folded to.

    Attributes:
        rates: The cycles it can take, the fewest first.
        fastest: Its slowest node in its fastest folding.
    """

    def __init__(self, group: Sequence[Layer]) -> None:
        self._group = group
        self._found = sorted((_together(group, each) for each in _foldings(group)), key=_size)
        self.rates = sorted({max(_interval_cycles(layer) for layer in option) for option in self._found})
        best = min(self._found, key=lambda option: max(_interval_cycles(layer) for layer in option))
        slowest = max(best, key=_interval_cycles)
        self.fastest: Named = (slowest.name, layer_cycles(slowest))

    def meeting(self, cycles: int, proposed: Mapping[str, Mapping[str, Attribute]]) -> Settings:
        """The proposal where it is legal and meets *cycles*, else the smallest folding that does."""
        theirs = [refolded(layer, proposed.get(layer.name, {})) for layer in self._group]
        meets = [
            option for option in self._found if all(_interval_cycles(layer) <= cycles for layer in option)
        ]
        chosen = theirs if theirs in meets else meets[0]
        return {layer.name: settings_of(layer) for layer in chosen}


def _groups(layers: Sequence[Layer]) -> list[list[Layer]]:
    """The layers that are folded independently: each alone, but a pool with its window."""
    groups: list[list[Layer]] = []
    for layer in layers:
        if isinstance(layer, MaxPool) and groups and isinstance(groups[-1][-1], SlidingWindow):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups


def _foldings(group: Sequence[Layer]) -> list[Mapping[str, Attribute]]:
    """What *group* can be folded by; a pool has the PE that its window has as SIMD."""
    first = legal_foldings(group[0])
    if len(group) == 1:
        return [*first]
    pools = [each["PE"] for each in legal_foldings(group[1])]
    return [
        {**each, "PE": each["SIMD"]}
        for each in first
        if each["SIMD"] in pools and not each["parallel_window"]
    ]


def _together(group: Sequence[Layer], settings: Mapping[str, Attribute]) -> list[Layer]:
    return [refolded(layer, settings) for layer in group]


def _size(option: Sequence[Layer]) -> tuple[bool, int, int]:
    """What the smallest folding has least of: whole windows, then PE * SIMD, then PE."""
    whole = any(isinstance(layer, SlidingWindow) and layer.parallel for layer in option)
    lanes = sum(getattr(layer, "pe", 1) * getattr(layer, "simd", 1) for layer in option)
    return whole, lanes, sum(getattr(layer, "pe", 1) for layer in option)


def _beyond(sums: Mapping[str, int], budget: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The resources of which more is taken than there may be: what is taken, and what may be."""
    return {kind: (taken, budget[kind]) for kind, taken in sums.items() if taken > budget[kind]}


def _cycles(named: Named) -> int:
    return named[1]
