"""What decides a result: the network, the code that predicts and simulates, and the calibration."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import labd_host
import labd_shared
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.explore import calibration
from labd_shared import __version__
from labd_shared.digest import file_sha256, json_sha256

DECIDES = (
    "dataflow/**/*.py",
    "experiments/assess.py",
    "experiments/study_model.py",
    "explore/*.py",
    "simulate/*.py",
)


@cache
def basis_sha256() -> str:
    """Digest of all that is not in the experiment and yet decides its numbers."""
    host, shared = Path(labd_host.__file__).parent, Path(labd_shared.__file__).parent
    code = [path for pattern in DECIDES for path in host.glob(pattern)]
    code += [shared / name for name in ("datatypes.py", "tensors.py", "timing.py")]
    mine = calibration.users_file()
    used = mine if mine.is_file() else calibration.SHIPPED
    return json_sha256(
        [sorted([path.parent.name, path.name, file_sha256(path)] for path in code), file_sha256(used)]
    )


def origin() -> str:
    """What made a result, for people: version and the first digits of `basis_sha256`."""
    return f"labd {__version__}, code {basis_sha256()[:12]}"


def network_sha256(design: FoldedChain) -> str:
    """Digest of the layers and tensors of *design*, unfolded."""
    layers = [[type(layer).__name__, layer.record()] for layer in design.layers]
    tensors = [[tensor.datatype.name, list(tensor.normal)] for tensor in (*design.inputs, *design.outputs)]
    return json_sha256([layers, tensors])
