"""FINN's own greedy folding, to compare with: each layer by itself, no budget, no memories.

An MVAU first gets the narrowest SIMD that is fast enough, of at most 36 bits of weights a row, then the
narrowest PE; a pool and its window share theirs; when a layer misses the target, everything is folded
again for what that layer can do.

Source: finn-plus 1.6.1, transformation/fpgadataflow/set_folding.py; tests/host/explore/test_optimiser.py
compares with it.
"""

from __future__ import annotations

from dataclasses import replace

from labd_host.dataflow.cycles import layer_cycles
from labd_host.dataflow.design import Design
from labd_host.dataflow.folding import MAX_STREAM_BITS, Folding, divisors, settings_of
from labd_host.dataflow.layers import LabelSelect, Layer, MaxPool, Mvau, Padding, SlidingWindow
from labd_host.explore.choices import stages_of
from labd_shared.datatypes import parse_datatype

MAX_WEIGHT_BITS = 36  # of a row


def set_folding(design: Design, cycles: int) -> Folding:
    """What FINN folds *design* to for *cycles* cycles a frame."""
    layers = _fold(design, cycles)
    slowest = max(layer_cycles(layer) for layer in layers)
    if slowest > cycles:
        layers = _fold(design, slowest)
    return Folding("SetFolding", {layer.name: settings_of(layer) for layer in layers}, {})


def _fold(design: Design, cycles: int) -> list[Layer]:
    folded: list[Layer] = []
    for stage in stages_of(design):
        layer, *rest = stage
        if isinstance(layer, Mvau):
            folded.append(_mvau(layer, cycles))
        elif isinstance(layer, SlidingWindow) and rest:
            folded += _pooled(layer, rest[0], cycles)
        elif isinstance(layer, SlidingWindow):
            folded.append(_window(layer, cycles))
        else:
            folded.append(_narrowest(_unfoldings(layer), cycles))
    return folded


def _narrowest(layers: list[Layer], cycles: int) -> Layer:
    """The first that is fast enough, or the last."""
    return next((layer for layer in layers if layer_cycles(layer) <= cycles), layers[-1])


def _unfoldings(layer: Layer) -> list[Layer]:
    if isinstance(layer, Padding | SlidingWindow):
        return [replace(layer, simd=simd) for simd in divisors(layer.channels)]
    if isinstance(layer, Mvau):
        return [replace(layer, pe=pe) for pe in divisors(layer.mh)]
    extent = layer.labels if isinstance(layer, LabelSelect) else layer.channels
    return [replace(layer, pe=pe) for pe in divisors(extent)]


def _mvau(layer: Mvau, cycles: int) -> Layer:
    bits = parse_datatype(layer.weight).bits
    chosen = layer = replace(layer, pe=1, simd=1)
    for simd in divisors(layer.mw):
        wider = replace(layer, simd=simd)
        if layer_cycles(wider) > cycles and simd * bits > MAX_WEIGHT_BITS:
            break
        chosen = wider
        if layer_cycles(wider) <= cycles:
            break
    hls = layer.name.startswith("MVAU_hls")
    rows = [
        wider for wider in _unfoldings(chosen)
        if isinstance(wider, Mvau) and not (hls and wider.pe * wider.simd * bits > MAX_STREAM_BITS)
    ]  # fmt: skip
    return _narrowest(list(rows), cycles)


def _pooled(window: SlidingWindow, pool: Layer, cycles: int) -> list[Layer]:
    if not isinstance(pool, MaxPool):
        raise TypeError(f"{window.name} is followed by {pool.name}, which is no pool")
    lanes = [pe for pe in divisors(pool.channels) if layer_cycles(replace(pool, pe=pe)) <= cycles]
    least = lanes[0] if lanes else pool.channels
    wider = [simd for simd in divisors(pool.channels) if simd >= least]
    fast = [simd for simd in wider if layer_cycles(replace(window, simd=simd, parallel=False)) <= cycles]
    simd = fast[0] if fast else wider[-1]
    return [replace(window, simd=simd, parallel=False), replace(pool, pe=simd)]


def _window(layer: SlidingWindow, cycles: int) -> Layer:
    chosen = _narrowest(_unfoldings(replace(layer, parallel=False)), cycles)
    if layer_cycles(chosen) > cycles and isinstance(chosen, SlidingWindow):
        return replace(chosen, parallel=True)
    return chosen
