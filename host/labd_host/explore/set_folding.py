"""FINN's own greedy folding, to compare with: each layer by itself, no budget, no memories.

Each kind of layer knows what FINN makes of it; a pool or a depthwise product and its window share their
lanes; when a layer misses the target, everything is folded again for what that layer can do.

Source: finn-plus 1.6.1, transformation/fpgadataflow/set_folding.py; tests/host/explore/test_optimiser.py
compares with it.
"""

from __future__ import annotations

from labd_host.dataflow.axes import divisors
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding
from labd_host.dataflow.layers import Layer
from labd_host.dataflow.layers.layer import first_within
from labd_host.explore.choices import stages_of


def set_folding(design: FoldedChain, cycles: int) -> Folding:
    """What FINN folds *design* to for *cycles* cycles a frame."""
    stages = stages_of(design)
    folded = [_folded(stage, cycles) for stage in stages]
    slowest = max(layer.cycles for stage in folded for layer in stage)
    if slowest > cycles:
        folded = [_folded(stage, slowest) for stage in folded]
    return Folding("SetFolding", {layer.name: layer.settings() for stage in folded for layer in stage}, {})


def _folded(stage: tuple[Layer, ...], cycles: int) -> tuple[Layer, ...]:
    first, *rest = stage
    return _together(first, rest[0], cycles) if rest else (first.set_folding(cycles),)


def _together(window: Layer, behind: Layer, cycles: int) -> tuple[Layer, ...]:
    """A pool or a depthwise product by itself, then both wider until the window is fast enough as well.

    Only then does the window leave whole, or not: as long as PE is widened it is as the round before left it.
    """
    (axis,), lanes = window.axes, behind.axes[0]
    narrow = behind.set_folding(cycles)
    windows = [
        window.folded({axis.key: each}) for each in divisors(axis.extent) if each >= narrow.lanes(lanes)
    ]
    chosen = first_within(windows, cycles)
    layer = narrow.folded({lanes.key: chosen.lanes(axis)})
    return chosen.folded({"parallel_window": int(layer.words[0] > layer.words[1])}), layer
