"""Files with weights that are written at run time, as FINN makes them.

``runtime_weights/P_L_NODE.dat``: layer L with such weights in StreamingDataflowPartition_P, which the
graph calls NODE, e.g. 1_0_MVAU_hls_0.dat: the memory's content, a 32-bit word a line, eight hexadecimal
digits.

Source: Xilinx/finn 39f0c9a, transformation/fpgadataflow/make_pynq_driver.py and driver_base.py.
"""

import re
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from labd_shared.errors import ArtifactError
from labd_shared.files import read_bounded

FOLDER = "runtime_weights/"
MAX_BYTES = 64 << 20
COPY_AGAIN = "build the bundle again, or copy FINN's runtime_weights folder whole"
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


def read_words(path: Path, name: str) -> np.ndarray:
    """The words in the file *path*, uint32; *name* stands in the errors.

    Raises:
        ArtifactError: it is not of FINN's form, which may have empty lines at its end only.
    """
    content = read_bounded(path, MAX_BYTES, COPY_AGAIN)
    lines = content.decode("ascii", "replace").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines):
        if not re.match(r"^[0-9A-Fa-f]{8}$", line.strip()):
            raise ArtifactError(
                "line {} of {} is {!r}, not eight hexadecimal digits".format(number + 1, name, line[:20]),
                fix=COPY_AGAIN,
            )
    if not lines:
        raise ArtifactError("{} is empty".format(name), fix=COPY_AGAIN)
    return np.array([int(line, 16) for line in lines], np.uint32)
