"""The names of files with weights that are written at run time, as FINN gives them.

``runtime_weights/P_L_NODE.dat``: layer L with such weights in StreamingDataflowPartition_P, which the
graph calls NODE, e.g. 1_0_MVAU_hls_0.dat.

Source: Xilinx/finn 39f0c9a, transformation/fpgadataflow/make_pynq_driver.py and driver_base.py.
"""

import re
from typing import NamedTuple, Optional

FOLDER = "runtime_weights/"
_DAT = re.compile(r"^([0-9]{1,4})_([0-9]{1,4})_([A-Za-z0-9_]+)\.dat$")


class LayerFile(NamedTuple):
    """What a file's name says.

    Attributes:
        partition: The number of the design's part that holds the layer.
        layer: Counted from 0 among the writable layers of that part.
        node: The layer.
    """

    partition: int
    layer: int
    node: str

    @property
    def block(self) -> str:
        """The block with the AXI-lite port."""
        return "StreamingDataflowPartition_{}".format(self.partition)

    @property
    def name(self) -> str:
        """The file's name inside the bundle.

        >>> LayerFile(1, 0, "MVAU_hls_0").name
        'runtime_weights/1_0_MVAU_hls_0.dat'
        """
        return "{}{}_{}_{}.dat".format(FOLDER, *self)


def parse_layer_file(name: str) -> Optional[LayerFile]:
    """What the name of a bundle's file says; None where it is not of that form."""
    match = _DAT.match(name[len(FOLDER) :]) if name.startswith(FOLDER) else None
    return None if match is None else LayerFile(int(match.group(1)), int(match.group(2)), match.group(3))
