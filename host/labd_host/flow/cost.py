"""What a folded network takes: cycles and resources, node by node and in sum, against the FPGA.

Cycles are those of labd's cycle model: FINN's, with DMAs, restarts and width converters counted besides. LUT,
BRAM18, URAM and DSP are FINN's own estimates of its layers; FIFOs, width converters, DMAs and the shell come
on top.

Source: finn-plus 1.6.1, node_res_estimation of each node; what the FPGA has: `labd_host.dataflow.parts`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labd_host.dataflow.cycles import CycleEstimate, NodeCycles
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.flow.stage_records import written
from labd_shared.rates import frames_per_s
from labd_shared.records import MAX_NAME, Origin, read_json

ESTIMATE_FILE = "estimate.json"
MAX_ESTIMATE_BYTES = 4 << 20
RESOURCES = ("LUT", "BRAM18", "URAM", "DSP")
_ORIGIN = (
    "cycles: labd's cycle model, DMAs and restarts counted; LUT, BRAM18, URAM, DSP: FINN's own estimates of its "
    "layers, without FIFOs, width converters, DMAs and the shell; nothing of it was measured"
)


@dataclass(frozen=True, kw_only=True)
class NodeCost(NodeCycles):
    """One node of a folded network: its cycles, and what it takes of the FPGA.

    Attributes:
        folding: "PE" and "SIMD" -> value; what it has of them.
        uses: Resource -> how many; None where FINN estimates nothing (DMAs, width converters).
    """

    folding: Mapping[str, int]
    uses: Mapping[str, int] | None


@dataclass(frozen=True)
class Cost:
    """A folded network on an FPGA.

    Attributes:
        nodes: In the order of the stream, input DMA first, output DMA last.
        cycles: The cycle model of the whole.
        clock_mhz: For frames a second.
        part: The FPGA.
    """

    nodes: tuple[NodeCost, ...]
    cycles: CycleEstimate
    clock_mhz: float
    part: str

    @property
    def part_has(self) -> dict[str, int]:
        """Resource -> how many the FPGA has."""
        return amounts(part_of(self.part).holds)

    @property
    def sums(self) -> dict[str, int]:
        """Resource -> how many all nodes take together."""
        return {kind: sum(node.uses[kind] for node in self.nodes if node.uses) for kind in RESOURCES}

    @property
    def too_many(self) -> dict[str, int]:
        """Resource -> how many more than the FPGA has, of those that do not fit."""
        return {
            kind: sums - self.part_has[kind] for kind, sums in self.sums.items() if sums > self.part_has[kind]
        }

    def frames_per_s(self, cycles: int) -> float:
        """The rate of something that takes *cycles* a frame."""
        return frames_per_s(self.clock_mhz, cycles)

    def record(self) -> dict[str, Any]:
        """The estimate as JSON-able data."""
        slowest = self.cycles.slowest_layer
        return {
            "origin": _ORIGIN,
            "clock_mhz": self.clock_mhz,
            "cycles_per_frame": self.cycles.cycles_per_frame,
            "bottleneck": self.cycles.bottleneck,
            "frames_per_s": self.cycles.frames_per_s(self.clock_mhz),
            "latency_cycles_at_most": self.cycles.latency_cycles,
            "layers_alone": {
                "cycles_per_frame": slowest.interval_cycles,
                "bottleneck": slowest.name,
                "frames_per_s": self.frames_per_s(slowest.interval_cycles),
            },
            "nodes": [
                {
                    "name": node.name,
                    "op": node.op,
                    **node.folding,
                    "cycles": node.cycles,
                    "restart_cycles": node.restart_cycles,
                    **(node.uses or {}),
                }
                for node in self.nodes
            ],
            "sums": self.sums,
            "part": {"name": self.part, **self.part_has},
            "fits": not self.too_many,
        }

    def write(self, folder: Path) -> Path:
        """Write ``estimate.json`` into *folder*; its path."""
        path = folder / ESTIMATE_FILE
        with written(path):
            path.write_text(json.dumps(self.record(), indent=2) + "\n", encoding="utf-8")
        return path


def cost_of(
    cycles: CycleEstimate,
    folding: Mapping[str, Mapping[str, int]],
    uses: Mapping[str, Mapping[str, int]],
    *,
    clock_mhz: float,
    part: str,
) -> Cost:
    """Cycles, folding and resources of the same nodes, put together by name."""
    nodes = [
        NodeCost(**asdict(node), folding=folding.get(node.name, {}), uses=uses.get(node.name))
        for node in cycles.nodes
    ]
    return Cost(tuple(nodes), cycles, clock_mhz, part)


def read_cost(folder: Path, cycles: CycleEstimate, folding: Mapping[str, Mapping[str, int]]) -> Cost:
    """The cost that ``estimate.json`` in *folder* holds, of a network whose cycles and folding are known.

    Raises:
        ArtifactError: there is no such file, or it is damaged.
    """
    path = folder / ESTIMATE_FILE
    origin = Origin(str(path), "compile the network again; finished stages are used")
    record = read_json(path, MAX_ESTIMATE_BYTES, origin).fields(("nodes", "clock_mhz", "part"), None)
    uses = {}
    for entry in record["nodes"].list():
        node = entry.fields(("name",), None)
        if all(kind in node for kind in RESOURCES):
            uses[node["name"].text(MAX_NAME)] = {kind: node[kind].integer(0) for kind in RESOURCES}
    part = record["part"].fields(("name",), None)["name"].text(MAX_NAME)
    return cost_of(cycles, folding, uses, clock_mhz=record["clock_mhz"].number(0.0), part=part)


def amounts(cells: Resources) -> dict[str, int]:
    """*cells* of an FPGA by the names that FINN's estimates go by: Resource -> how many."""
    return {kind: int(getattr(cells, kind.lower())) for kind in RESOURCES}
