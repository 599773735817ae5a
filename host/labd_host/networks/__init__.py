"""The zoo: which networks there are, and the trained ones that come with labd.

Light: reads a table and small files. Training and export live in modules of their own, which
import torch and Brevitas and run in the train environment.
"""

from pathlib import Path

from labd_host.networks.table import (
    DEFINITION,
    KERNEL,
    Conv,
    NetworkSpec,
    Recipe,
    parse_table,
    read_network,
    read_table,
)
from labd_host.networks.trained import (
    TrainedRecord,
    find_trained,
    read_record,
    trained_onnx,
    trained_record,
)
from labd_shared.errors import unknown_name

NETWORKS = read_table()


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


def resolve(what: str) -> tuple[Path, NetworkSpec | None]:
    """The export that *what* stands for, and its network where that is known.

    Args:
        what: A name of the table or a user's own network, whose export comes with labd or lies in its
            training folder; or an export itself (MODEL.onnx), known by its name or by the definition beside it.

    Raises:
        UnknownName: there is no such network.
        DataMissing: it was not trained.
        ArtifactError: a file is damaged; DigestMismatch: an export is not the one its record names.
    """
    path = Path(what)
    if path.suffix == ".onnx":
        beside = path.with_suffix(DEFINITION)
        return path, NETWORKS.get(path.stem) or (network(str(beside)) if beside.is_file() else None)
    found = network(what)
    return trained_onnx(found.name, find_trained(found)), found


__all__ = [
    "DEFINITION",
    "KERNEL",
    "NETWORKS",
    "Conv",
    "NetworkSpec",
    "Recipe",
    "TrainedRecord",
    "find_trained",
    "network",
    "parse_table",
    "read_network",
    "read_record",
    "read_table",
    "resolve",
    "trained_onnx",
    "trained_record",
]
