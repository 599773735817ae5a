"""FINN's final_hw_config.json: the folding, the converters and the FIFO depths of a finished build.

FINN writes the nodes in the order of the stream, FIFOs included, so that order tells where each FIFO is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding, read_folding
from labd_host.dataflow.generations import UNFOLDED_NODES, layers_meant
from labd_host.dataflow.layers import WidthConverter
from labd_host.dataflow.programs import HLS, Pipelines
from labd_host.simulate.pipeline import (
    LEAST_DEPTH,
    ChainUnit,
    Machine,
    assemble,
    converter,
    layer_stage,
    reshape_stage,
)
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import ArtifactError

CONFIG_FILE = "final_hw_config.json"
FIFO_KIND, RESHAPE_KIND = "StreamingFIFO", "Reshape"
_OLD_FIFO = re.compile(rf"\A{FIFO_KIND}_(?=[0-9])")


@dataclass(frozen=True)
class HardwareConfig:
    """A finished build's configuration.

    Attributes:
        name: Of the file, for messages.
        nodes: Node name -> attributes, in the order of the stream.
    """

    name: str
    nodes: Mapping[str, Mapping[str, Attribute]]

    @property
    def depths(self) -> dict[str, int]:
        """FIFO name, as today's FINN calls it -> depth."""
        return {
            _OLD_FIFO.sub(f"{FIFO_KIND}_rtl_", name): _depth(self.name, name, entry)
            for name, entry in self.nodes.items()
            if name.startswith(FIFO_KIND)
        }

    @property
    def folding(self) -> Folding:
        """PE, SIMD and the rest of the layers; reshapes and what FINN inserts are not layers."""
        layers = {name: entry for name, entry in self.nodes.items() if not name.startswith(UNFOLDED_NODES)}
        return Folding(self.name, layers, {})

    def design(self, design: FoldedChain) -> FoldedChain:
        """*design* folded as this build was.

        Raises:
            UnknownName, IllegalFolding: it is the build of another network.
        """
        return design.folded(self.folding)

    def machine(self, design: FoldedChain, *, dma: bool = True, pipelines: Pipelines = HLS) -> Machine:
        """The machine of this build; *design* is the network it was built from, in any folding.

        Raises:
            UnknownName, IllegalFolding: it is the build of another network.
            ArtifactError: its nodes are in another order, or too few.
        """
        folded = self.design(design)
        return assemble(folded, stages=self._stages(folded, pipelines), dma=dma, depth=self._depth_of)

    def _depth_of(self, fifo: str) -> int:
        return self.depths.get(fifo, LEAST_DEPTH)

    def _stages(self, design: FoldedChain, pipelines: Pipelines) -> list[ChainUnit]:
        layers = {layer.name: layer for layer in design.layers}
        meant = layers_meant(self.nodes, design.layers, self.name)
        ordered = [meant[node] for node in self.nodes if node in meant]
        if ordered != list(layers):
            raise ArtifactError(
                f"{self.name} has the layers {', '.join(ordered) or 'none'}, the network {', '.join(layers)}",
                fix=f"give the {CONFIG_FILE} of a build of this network",
            )
        stages: list[ChainUnit] = []
        for name in self.nodes:
            if name.startswith(RESHAPE_KIND):
                following = layers[ordered[sum(stage.name in layers for stage in stages)]]
                lanes = self.nodes[name].get("PE", 1)
                if not isinstance(lanes, int) or lanes < 1 or following.in_values % lanes:
                    raise ArtifactError(
                        f"{self.name}: PE {lanes!r} of {name} does not divide the {following.in_values} values "
                        f"it passes on",
                        fix="give the file as FINN wrote it",
                    )
                stage = reshape_stage(name, following.in_values, lanes, parse_datatype(following.input).bits)
            elif name in meant:
                stage = layer_stage(layers[meant[name]], pipelines)
            else:
                continue
            if stages and stages[-1].gives != stage.takes:
                stages.append(
                    converter(sum(one.op == WidthConverter.op for one in stages), stages[-1], stage)
                )
            stages.append(stage)
        return stages


def _depth(file: str, name: str, entry: Mapping[str, Attribute]) -> int:
    depth = entry.get("depth", LEAST_DEPTH)
    if not isinstance(depth, int) or isinstance(depth, bool) or not 1 <= depth <= 1 << 32:
        raise ArtifactError(
            f"{file}: depth of {name} is {depth!r}, not a number of words",
            fix="give the file as FINN wrote it",
        )
    return depth


def read_hardware_config(path: Path) -> HardwareConfig:
    """A final_hw_config.json.

    Raises:
        ArtifactError: it is no such file.
    """
    return HardwareConfig(path.name, read_folding(path).nodes)
