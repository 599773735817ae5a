"""What a user calls a network, as the trained export it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labd_host.networks.table import DEFINITION, NetworkSpec, read_network, read_table
from labd_host.networks.trained import find_trained, trained_onnx
from labd_shared.errors import unknown_name

NETWORKS = read_table()
ONNX = ".onnx"


@dataclass(frozen=True)
class TrainedExport:
    """An exported model, and what is known of it.

    Attributes:
        name: The network's; of a model that labd does not know, its file's, without the ending.
        typed: What stands for it on a command line.
        file: The ONNX file.
        dataset: Name of the data set it was trained for; "" where nobody knows.
        spec: The network's structure; None for a model that labd does not know.
    """

    name: str
    typed: str
    file: Path
    dataset: str
    spec: NetworkSpec | None

    @property
    def kind(self) -> str:
        """ "fc" or "cnv"; an unknown model may have convolutions."""
        return self.spec.kind if self.spec else "cnv"


def network(name: str) -> NetworkSpec:
    """The network called *name*, or the one in the user's own file *name* (NAME.toml).

    Raises:
        UnknownName: there is none; the fix offers the nearest name.
        ArtifactError: the file does not say what it must.
    """
    if name.endswith(DEFINITION):
        return read_network(Path(name), taken=NETWORKS)
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS, fix="choose one of these")
    return NETWORKS[name]


def is_table_name(what: str) -> bool:
    """Whether *what* names a network whose structure labd knows without a compile: of the table, or NAME.toml."""
    return what in NETWORKS or what.endswith(DEFINITION)


def spec_beside(model: Path) -> NetworkSpec | None:
    """The network that the export *model* is of, by its name or by the definition beside it; None where unknown.

    Raises:
        ArtifactError: the definition does not say what it must.
    """
    beside = model.with_suffix(DEFINITION)
    return NETWORKS.get(model.stem) or (network(str(beside)) if beside.is_file() else None)


def resolve(what: str, dataset: str = "", model: Path | None = None) -> TrainedExport:
    """The export that *what* stands for.

    Args:
        what: A name of the table or a user's own network, whose export comes with labd or lies in its
            training folder; or an export itself (MODEL.onnx).
        dataset: What it was trained for, where *what* does not say.
        model: Another export of the network *what*.

    Raises:
        UnknownName: there is no such network.
        DataMissing: it was not trained.
        ArtifactError: a file is damaged; DigestMismatch: an export is not the one its record names.
    """
    path = Path(what)
    if path.suffix == ONNX:
        spec = spec_beside(path)
        return TrainedExport(
            spec.name if spec else path.stem, what, path, dataset or (spec.dataset if spec else ""), spec
        )
    found = network(what)
    file = model or trained_onnx(found.name, find_trained(found))
    return TrainedExport(found.name, what, file, dataset or found.dataset, found)
