"""Exported networks as files: read within bounds, brought to one form, every change told.

`load_onnx` reads a file as it is. `read_export` also brings an export to the form that the rest of labd knows:
one operator set, one input, a batch of one, shapes known, no choice of the class behind the scores. Neither imports
FINN, qonnx or torch.
"""

from labd_host.exports.normalise import Export, read_export
from labd_host.exports.onnx_file import QONNX_DOMAIN, load_onnx, network_sha256

__all__ = ["QONNX_DOMAIN", "Export", "load_onnx", "network_sha256", "read_export"]
