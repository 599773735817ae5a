"""FINN's own greedy folding, to compare with: each layer by itself, no budget, no memories.

Each kind of layer knows what FINN makes of it; a pool and its window share their lanes; when a layer
misses the target, everything is folded again for what that layer can do.

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
    layers = _fold(design, cycles)
    slowest = max(layer.cycles for layer in layers)
    if slowest > cycles:
        layers = _fold(design, slowest)
    return Folding("SetFolding", {layer.name: layer.settings() for layer in layers}, {})


def _fold(design: FoldedChain, cycles: int) -> list[Layer]:
    folded: list[Layer] = []
    for first, *rest in stages_of(design):
        if rest:
            folded += _together(first, rest[0], cycles)
        else:
            folded.append(first.set_folding(cycles))
    return folded


def _together(window: Layer, pool: Layer, cycles: int) -> list[Layer]:
    """A pool by itself, then both wider until the window is fast enough as well."""
    (axis,), (lanes,) = window.axes, pool.axes
    least = pool.set_folding(cycles).lanes(lanes)
    windows = [
        window.folded({axis.key: each, "parallel_window": 0})
        for each in divisors(axis.extent)
        if each >= least
    ]
    chosen = first_within(windows, cycles)
    return [chosen, pool.folded({lanes.key: chosen.lanes(axis)})]
