"""A compiled network as the folder of an earlier run holds it, and what it was compiled for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folding import folding_of
from labd_host.flow.compiled_network import CompiledNetwork, CompiledStage
from labd_host.flow.cost import read_cost
from labd_host.flow.stage_records import (
    GOLDEN,
    STAGE_NAMES,
    finished_stages,
    read_record,
    stage_path,
    written,
)
from labd_host.golden.golden_model import GoldenModel
from labd_host.machine.typed_records import find_record, write_record
from labd_host.proof.proof import ANSWERS
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, UsageError
from labd_shared.manifest import NETWORK_NAME

PURPOSE_FILE = "purpose.json"
MAX_PURPOSE_BYTES = 1 << 12


@dataclass(frozen=True)
class Purpose:
    """What a compiled network is for.

    Attributes:
        dataset: Name of its data set; "" where the folder does not tell.
        frame: Shape of what the export takes: height, width, channels, or values; () where the folder does not tell.
    """

    dataset: str = ""
    frame: tuple[int, ...] = ()


def write_purpose(folder: Path, purpose: Purpose) -> None:
    """Note in *folder* what its network was compiled for."""
    with written(folder / PURPOSE_FILE):
        write_record(folder / PURPOSE_FILE, purpose)


def read_purpose(folder: Path) -> Purpose:
    """What the network in *folder* was compiled for."""
    return find_record(Purpose, folder / PURPOSE_FILE, MAX_PURPOSE_BYTES) or Purpose()


def load_compiled(folder: Path) -> CompiledNetwork:
    """What `compile_network` left in *folder*, every file of it as its record says.

    Raises:
        UsageError: it does not hold a whole compilation; the stage that is missing or damaged is named.
        ArtifactError: its golden model or estimate is damaged.
    """
    records = finished_stages(folder)
    for name in STAGE_NAMES:
        if name not in records and name != ANSWERS:
            raise UsageError(
                f"{folder} does not hold a whole compilation: stage {name} is missing or damaged",
                fix=f"labd compile NETWORK -o {folder}, which uses what is finished",
            )
    stages = tuple(
        CompiledStage(
            name, record.title, folder / record.file, record.proof, record.nodes, seconds=0.0, why=""
        )
        for name, record in records.items()
    )
    golden = GoldenModel.load(folder / NETWORK_NAME)
    network = golden.network
    folds = folding_of(network.layers)
    cost = read_cost(folder, estimate(network.layers, network.inputs, network.outputs), folds)
    return CompiledNetwork(
        folder=folder,
        stages=stages,
        inputs=network.inputs,
        outputs=network.outputs,
        folding=folds,
        cost=cost,
        finn_cycles={node.name: node.cycles for node in cost.nodes if node.name in folds},
        golden=golden,
        tools=records[STAGE_NAMES[0]].tools,
    )


def check_proven(folder: Path) -> None:
    """Check that the golden model in *folder* is the one that its compilation proved.

    Raises:
        ArtifactError: the compilation was refused, or interrupted before it had proven it.
    """
    record = read_record(stage_path(folder, GOLDEN, ".json"), GOLDEN)
    found = folder / NETWORK_NAME
    if record is None or record.files.get(NETWORK_NAME) != file_sha256(found):
        raise ArtifactError(
            f"{found} is not proven: the compilation that wrote it did not finish",
            fix=f"labd compile NETWORK -o {folder}, which uses what is finished",
        )
