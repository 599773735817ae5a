"""The zoo: which networks there are, and the trained ones that come with labd.

Light: reads a table and small files. Training and export live in modules of their own, which
import torch and Brevitas and run in the train environment.
"""

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
from labd_host.networks.trained_export import (
    NETWORKS,
    ONNX,
    TrainedExport,
    is_table_name,
    network,
    resolve,
    spec_beside,
)

__all__ = [
    "DEFINITION",
    "KERNEL",
    "NETWORKS",
    "ONNX",
    "Conv",
    "NetworkSpec",
    "Recipe",
    "TrainedExport",
    "TrainedRecord",
    "find_trained",
    "is_table_name",
    "network",
    "parse_table",
    "read_network",
    "read_record",
    "read_table",
    "resolve",
    "spec_beside",
    "trained_onnx",
    "trained_record",
]
