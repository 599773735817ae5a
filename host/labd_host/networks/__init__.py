"""The zoo: which networks there are, and the trained ones that come with labd.

Light: reads a table and small files. Training and export live in modules of their own, which
import torch and Brevitas and run in the train environment.
"""

from labd_host.networks.table import KERNEL, Conv, Network, Recipe, parse_table, read_table
from labd_host.networks.trained import TrainedRecord, read_record, trained_onnx, trained_record
from labd_shared.errors import unknown_name

NETWORKS = read_table()


def network(name: str) -> Network:
    """The network called *name*.

    Raises:
        UnknownName: there is none; the fix offers the nearest name.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS, fix="choose one of these")
    return NETWORKS[name]


__all__ = [
    "KERNEL",
    "NETWORKS",
    "Conv",
    "Network",
    "Recipe",
    "TrainedRecord",
    "network",
    "parse_table",
    "read_record",
    "read_table",
    "trained_onnx",
    "trained_record",
]
