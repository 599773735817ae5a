"""The pictures of a compiled network's stages, read from the files that the stages were saved in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labd_host.dataflow.cycles import CycleEstimate
from labd_host.drawing.graph_picture import ADDED, CHANGED, KEPT, Box, Gone, GraphPicture, Wire
from labd_host.flow import node_facts
from labd_host.flow.changes import Changes, compare_graphs
from labd_host.flow.onnx_graph import inline, read_graph
from labd_host.proof.plain_graph import Graph, Node
from labd_host.proof.proof import Compared

CONTAINER = "StreamingDataflowPartition"


@dataclass(frozen=True, eq=False)
class StageGraph:
    """A stage's graph with what its picture needs to know besides.

    Attributes:
        stage, title: As in `labd_host.flow.stages`.
        graph: With the partition's inside in place of its container.
        inside: Places of the nodes that run on the FPGA.
        compared: The proof against the stage before.
    """

    stage: str
    title: str
    graph: Graph
    inside: frozenset[int] = field(default=frozenset())
    compared: tuple[Compared, ...] = ()


def read_stage(
    stage: str, title: str, path: Path, partition: Path, compared: Iterable[Compared]
) -> StageGraph:
    """The graph in *path*; where it holds a partition, the partition's inside comes from *partition*.

    Raises:
        ArtifactError: one of the files is no ONNX model.
    """
    graph = read_graph(path)
    containers = [node for node in graph.nodes if node.op == CONTAINER]
    if len(containers) != 1:
        return StageGraph(stage, title, graph, compared=tuple(compared))
    inner = read_graph(partition)
    at = graph.nodes.index(containers[0])
    return StageGraph(
        stage,
        title,
        inline(graph, containers[0], inner),
        frozenset(range(at, at + len(inner.nodes))),
        tuple(compared),
    )


def pictures(stages: Sequence[StageGraph], estimate: CycleEstimate) -> tuple[GraphPicture, ...]:
    """A picture of each stage, with what changed since the one before.

    Args:
        stages: In their order.
        estimate: Of the last one; the cycles stand in its boxes.
    """
    drawn = []
    for number, stage in enumerate(stages):
        before = stages[number - 1] if number else None
        cycles = estimate if number == len(stages) - 1 else None
        drawn.append(_picture(stage, before, cycles))
    return tuple(drawn)


def _picture(stage: StageGraph, before: StageGraph | None, estimate: CycleEstimate | None) -> GraphPicture:
    graph = stage.graph
    changes = compare_graphs(before.graph, graph, stage.compared) if before is not None else None
    cycles = {node.name: node.cycles for node in estimate.nodes} if estimate else {}
    slowest = estimate.bottleneck if estimate else ""
    nodes = tuple(_box(stage, before, index, changes, cycles, slowest) for index in range(len(graph.nodes)))
    first, last = _ends(graph, estimate)
    return GraphPicture(
        stage=stage.stage,
        title=stage.title,
        before=before.stage if before is not None else "",
        boxes=(first, *nodes, last),
        wires=_wires(graph),
        gone=tuple(_gone(stage, before, changes)) if before is not None and changes is not None else (),
        frame="on the FPGA" if stage.inside else "",
    )


def _ends(graph: Graph, estimate: CycleEstimate | None) -> tuple[Box, Box]:
    """The network's input and output; in the last stage they say what their DMAs take."""
    dmas = [node for node in estimate.nodes if node.op == "IODMA"] if estimate else []
    ends = []
    for op, tensor, dma in (
        ("input", graph.input, dmas[:1]),
        ("output", graph.output, dmas[-1:]),
    ):
        said = node_facts.tensor(graph, tensor)
        lines = [said] if op == "output" else []
        slowest = estimate is not None and any(node.name == estimate.bottleneck for node in dma)
        lines += [f"{node.name} · {node_facts.said_cycles(node.cycles, slowest=slowest)}" for node in dma]
        ends.append(
            Box(tensor, op, "edge", tuple(lines), output=said if op == "input" else "", slowest=slowest)
        )
    return ends[0], ends[1]


def _box(
    stage: StageGraph,
    before: StageGraph | None,
    index: int,
    changes: Changes | None,
    cycles: Mapping[str, int],
    slowest: str,
) -> Box:
    graph, node = stage.graph, stage.graph.nodes[index]
    state, was = KEPT, ""
    said: list[str] = []
    if changes is not None and before is not None:
        partner = changes.partner[index]
        said = list(changes.differences[index])
        state = CHANGED if said else KEPT
        if partner is None:
            state = ADDED
        else:
            was = before.graph.nodes[partner].name
        said += [f"in place of {name}" for name in changes.replaces[index]]
    return Box(
        name=node.name,
        op=node.op,
        kind=node_facts.kind_of(node),
        lines=tuple(node_facts.lines(graph, node, cycles, slowest)),
        state=state,
        changes=tuple(said),
        facts=(node.name, *([f"was {was}"] if was not in ("", node.name) else []), *node_facts.facts(node)),
        output=_output(graph, node),
        inside=index in stage.inside,
        slowest=bool(node.name) and node.name == slowest,
        proven=any(entry.layer in (node.name, *node.outputs) for entry in stage.compared),
    )


def _output(graph: Graph, node: Node) -> str:
    """Shape and datatype of what others read of *node*."""
    read = {name for other in graph.nodes for name in other.inputs} | {graph.output}
    said = dict.fromkeys(node_facts.tensor(graph, name) for name in node.outputs if name in read)
    return " / ".join(said)


def _wires(graph: Graph) -> tuple[Wire, ...]:
    """The input is box 0, the nodes follow, the output is last; what nobody made before is no wire."""
    maker = {graph.input: 0}
    found: dict[Wire, None] = {}
    for place, node in enumerate(graph.nodes, start=1):
        for name in node.inputs:
            if name in maker:
                found[Wire(maker[name], place)] = None
        maker.update((name, place) for name in node.outputs if name)
    if graph.output in maker:
        found[Wire(maker[graph.output], len(graph.nodes) + 1)] = None
    return tuple(found)


def _gone(stage: StageGraph, before: StageGraph, changes: Changes) -> Iterable[Gone]:
    for place, near, heir in zip(changes.gone, changes.near, changes.into, strict=True):
        node = before.graph.nodes[place]
        into = f"now in {heir}" if heir else ""
        if before.inside and place not in before.inside and not stage.inside:
            into = "left to the driver"
        yield Gone(node.name, node.op, node_facts.kind_of(node), near + 1, into)
