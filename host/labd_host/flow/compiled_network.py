"""A compiled network: its stages, its golden model, what it costs, and the names of its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labd_host.dataflow.cycles import CycleEstimate
from labd_host.dataflow.folding import FOLDING_FILE, Settings, read_folding
from labd_host.flow.cost import Cost
from labd_host.golden.golden_model import GoldenModel
from labd_host.proof.proof import Proof
from labd_shared.answers import SIGN, VALUES
from labd_shared.manifest import NETWORK_NAME
from labd_shared.tensors import Tensor, count

PARTITION_FILE = "6-partition-dataflow.onnx"


@dataclass(frozen=True)
class CompiledStage:
    """One stage that was made, saved and proven.

    Attributes:
        name, title: As in `labd_host.flow.stages`; then the golden model, as "golden", and "answers", the
            golden model's answers to many images against the export's own arithmetic.
        path: Its file in the output folder.
        proof: Against the stage before it.
        nodes: How many operations the graph has.
        seconds: What making and proving it took, or finding that it can be used again.
        why: Why it was made in this run; "" for one that was finished before and used again.
    """

    name: str
    title: str
    path: Path
    proof: Proof
    nodes: int
    seconds: float
    why: str

    @property
    def reused(self) -> bool:
        """Was it finished before?"""
        return not self.why


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """A compiled network.

    Attributes:
        folder: Where its files lie.
        stages: From the exported network to the golden model.
        inputs, outputs: The accelerator's tensors.
        folding: Node name -> {"PE": ..., "SIMD": ...}, of every layer.
        cost: Cycles and FINN's estimate of the resources, node by node.
        finn_cycles: FINN's own estimate, node name -> cycles (it knows no DMA).
        golden: The golden model.
        tools: Distribution -> version.
    """

    folder: Path
    stages: tuple[CompiledStage, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    folding: Mapping[str, Mapping[str, int]]
    cost: Cost
    finn_cycles: Mapping[str, int] = field(repr=False)
    golden: GoldenModel = field(repr=False)
    tools: Mapping[str, str] = field(repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the proofs besides their numbers, a sentence each."""
        values = count(self.outputs[0].normal)
        said = {
            SIGN: "it answers yes or no: 1 where its one score is above 0, else 0",
            VALUES: f"it answers with {values} values for an image, not with a class",
        }.get(self.golden.network.answer)
        return (*([said] if said else []), *(note for stage in self.stages for note in stage.proof.notes))

    @property
    def ignored(self) -> tuple[str, ...]:
        """What failed in the proofs and was ignored, a sentence each."""
        return tuple(
            f"{name}: {sentence}" for stage in self.stages for name, sentence in stage.proof.ignored.items()
        )

    @property
    def estimate(self) -> CycleEstimate:
        """The cycle model, DMA counted."""
        return self.cost.cycles

    @property
    def settings(self) -> Settings:
        """What the folding sets of each layer: node name -> attribute -> value, PE and SIMD among them."""
        return read_folding(self.folder / FOLDING_FILE).nodes

    @property
    def network_file(self) -> Path:
        """The golden model's file."""
        return self.folder / NETWORK_NAME
