"""What a folded network takes: cycles and resources, node by node and in sum, against the FPGA.

Cycles are those of labd's cycle model: FINN's, with DMAs, restarts and width converters counted besides. LUT,
BRAM18, URAM and DSP are FINN's own estimates of its layers; FIFOs, width converters, DMAs and the shell come
on top.

Source: finn-plus 1.6.1, node_res_estimation of each node; what the FPGA has is FINN's, too, util/platforms.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host.explore.cycles import Estimate
from labd_host.flow.records import written

ESTIMATE_FILE = "estimate.json"
RESOURCES = ("LUT", "BRAM18", "URAM", "DSP")
_ORIGIN = (
    "cycles: labd's cycle model, DMAs and restarts counted; LUT, BRAM18, URAM, DSP: FINN's own estimates of its "
    "layers, without FIFOs, width converters, DMAs and the shell; nothing of it was measured"
)


@dataclass(frozen=True)
class NodeCost:
    """One node of a folded network.

    Attributes:
        name, op: As in `labd_host.explore.cycles.NodeCycles`.
        folding: "PE" and "SIMD" -> value; what it has of them.
        cycles: Clock cycles a frame; of a layer FINN's own number.
        restart_cycles: What it needs on top before the next frame.
        uses: Resource -> how many; None where FINN estimates nothing (DMAs, width converters).
    """

    name: str
    op: str
    folding: Mapping[str, int]
    cycles: int
    restart_cycles: int
    uses: Mapping[str, int] | None

    @property
    def interval_cycles(self) -> int:
        """From the beginning of one frame to that of the next."""
        return self.cycles + self.restart_cycles


@dataclass(frozen=True)
class Cost:
    """A folded network on an FPGA.

    Attributes:
        nodes: In the order of the stream, input DMA first, output DMA last.
        cycles: The cycle model of the whole.
        clock_mhz: For frames a second.
        part: The FPGA.
        part_has: Resource -> how many.
    """

    nodes: tuple[NodeCost, ...]
    cycles: Estimate
    clock_mhz: float
    part: str
    part_has: Mapping[str, int]

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

    @property
    def slowest_layer(self) -> NodeCost:
        """Of all but the DMAs; of several, the first."""
        inside = (node for node in self.nodes if node.op != "IODMA")
        return max(inside, key=lambda node: node.interval_cycles)

    def frames_per_s(self, cycles: int) -> float:
        """The rate of something that takes *cycles* a frame."""
        return self.clock_mhz * 1e6 / cycles

    def record(self) -> dict[str, Any]:
        """The estimate as JSON-able data."""
        slowest = self.slowest_layer
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
    cycles: Estimate,
    folding: Mapping[str, Mapping[str, int]],
    uses: Mapping[str, Mapping[str, int]],
    *,
    clock_mhz: float,
    part: str,
    part_has: Mapping[str, int],
) -> Cost:
    """Cycles, folding and resources of the same nodes, put together by name."""
    nodes = [
        NodeCost(
            node.name,
            node.op,
            folding.get(node.name, {}),
            node.cycles,
            node.restart_cycles,
            uses.get(node.name),
        )
        for node in cycles.nodes
    ]
    return Cost(tuple(nodes), cycles, clock_mhz, part, part_has)
