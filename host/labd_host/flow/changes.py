"""What a transformation did to a graph: which nodes are the same, new, gone, and what differs.

Every transformation may rename all nodes and tensors, so names say little. Two nodes are taken for
the same when they do the same kind of thing and stand at the same place in the order; among several
such readings the one that fits the proof, the shapes and the names best is chosen (a longest common
subsequence with weights). The proof also knows what became of a node that was merged into another.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from labd_host.flow.node_facts import parameters, tensor
from labd_host.proof.plain_graph import Graph, Node
from labd_host.proof.proof import Compared

_SAME, _PROVEN, _SHAPE, _NAME = 4, 8, 2, 1  # what speaks for two nodes being the same

_MADE = {"_hls": "made in C++ (HLS)", "_rtl": "made in Verilog (RTL)"}


@dataclass(frozen=True)
class Changes:
    """From one graph to the next.

    Attributes:
        partner: For each node now, the place of the same one before, or None for a new one.
        differences: For each node now, what is different about it, a line each.
        replaces: For each node now, the nodes of before that the proof says it computes for.
        gone: Places of the nodes of before that are not there any more.
        near: For each of those, the place now that it stood at.
        into: For each of those, the node that computes its result now, "" if none does.
    """

    partner: tuple[int | None, ...]
    differences: tuple[tuple[str, ...], ...]
    replaces: tuple[tuple[str, ...], ...]
    gone: tuple[int, ...]
    near: tuple[int, ...]
    into: tuple[str, ...]


def compare_graphs(before: Graph, now: Graph, compared: Iterable[Compared]) -> Changes:
    """What changed from *before* to *now*; *compared* is the proof of the stage."""
    proven = {(entry.layer, entry.layer_before) for entry in compared}
    pairs = _align(before, now, proven)
    partner = dict(pairs)
    kept = {old for _, old in pairs}
    gone = tuple(index for index in range(len(before.nodes)) if index not in kept)
    heirs = {old: new for new, old in sorted(proven)}
    into = tuple(heirs.get(before.nodes[index].name, "") for index in gone)
    left = [before.nodes[index].name for index in gone]
    replaces = tuple(tuple(old for old in left if (node.name, old) in proven) for node in now.nodes)
    return Changes(
        partner=tuple(partner.get(index) for index in range(len(now.nodes))),
        differences=tuple(
            tuple(_differences(before, before.nodes[partner[index]], now, node)) if index in partner else ()
            for index, node in enumerate(now.nodes)
        ),
        replaces=replaces,
        gone=gone,
        near=_near(gone, into, pairs, now),
        into=into,
    )


def _align(before: Graph, now: Graph, proven: set[tuple[str, str]]) -> list[tuple[int, int]]:
    """(now, before) of the nodes that are the same, in order."""
    new, old = now.nodes, before.nodes
    best = [[0] * (len(old) + 1) for _ in range(len(new) + 1)]
    kinds = [node.kind for node in old]
    fits = [
        [
            _fit(now, node, before, other, proven) if kind == other_kind else 0
            for other, other_kind in zip(old, kinds, strict=True)
        ]
        for node, kind in ((node, node.kind) for node in new)
    ]
    for i in reversed(range(len(new))):
        for j in reversed(range(len(old))):
            match = fits[i][j] + best[i + 1][j + 1] if fits[i][j] else 0
            best[i][j] = max(match, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(new) and j < len(old):
        if fits[i][j] and best[i][j] == fits[i][j] + best[i + 1][j + 1]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _fit(now: Graph, new: Node, before: Graph, old: Node, proven: set[tuple[str, str]]) -> int:
    """What speaks for *new* being *old*, which does the same kind of thing."""
    shapes = [
        graph.shapes.get(node.outputs[0]) if node.outputs else None
        for graph, node in ((now, new), (before, old))
    ]
    return (
        _SAME
        + _PROVEN * ((new.name, old.name) in proven)
        + _SHAPE * (shapes[0] == shapes[1])
        + _NAME * (new.name == old.name)
    )


def _near(
    gone: tuple[int, ...], into: tuple[str, ...], pairs: list[tuple[int, int]], now: Graph
) -> tuple[int, ...]:
    """Where each of *gone* would stand now: at its heir, or behind what stood before it and is left."""
    places = {node.name: place for place, node in enumerate(now.nodes)}
    found: list[int] = []
    for index, heir in zip(gone, into, strict=True):
        after = max((new + 1 for new, old in pairs if old < index), default=0)
        after = max([places.get(heir, after), after, *found[-1:]])
        found.append(min(after, len(now.nodes) - 1))
    return tuple(found)


def _differences(before: Graph, old: Node, now: Graph, new: Node) -> Iterable[str]:
    if old.op != new.op:
        yield _MADE.get(new.op.removeprefix(new.kind), f"{old.op} → {new.op}")
    for key in sorted({*old.attributes, *new.attributes}):
        was, now_is = old.attributes.get(key), new.attributes.get(key)
        if was != now_is:
            yield f"{key} {_said(was)} → {_said(now_is)}"
    if old.outputs and new.outputs:
        was, now_is = tensor(before, old.outputs[0]), tensor(now, new.outputs[0])
        if was != now_is:
            shape, _, datatype = was.partition(" ")
            yield f"gives {datatype if now_is.startswith(shape + ' ') else was} → " + (
                now_is.removeprefix(shape + " ")
            )
    theirs, ours = parameters(before, old), parameters(now, new)
    for role in sorted({*theirs, *ours}):
        if theirs.get(role) != ours.get(role):
            yield f"{role} {theirs.get(role, 'none')} → {ours.get(role, 'none')}"
        elif not _equal(before, old, now, new, role):
            yield f"{role}: new values"


def _said(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _equal(before: Graph, old: Node, now: Graph, new: Node, role: str) -> bool:
    """Do the constants of that role hold the same values?"""
    place = list(parameters(now, new)).index(role)
    theirs, ours = _constants(before, old), _constants(now, new)
    return place >= len(theirs) or bool(np.array_equal(theirs[place], ours[place]))


def _constants(graph: Graph, node: Node) -> list[np.ndarray]:
    return [graph.constants[name] for name in node.inputs if name in graph.constants]
