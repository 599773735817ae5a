"""FINN: the stages from an exported network to a folded dataflow graph, each proven against the one before.

`compile_network` is the way in. Importing this package does not import FINN.
"""

from labd_host.flow.auto_folding import Wanted, choose_folding
from labd_host.flow.compiler import Compiled, CompiledStage, compile_network
from labd_host.flow.estimate import Cost
from labd_host.flow.folding import Folding, load_folding, read_folding
from labd_host.flow.presets import PRESETS
from labd_host.flow.proof import MANY_IMAGES, Compared, Proof, proof_images

__all__ = [
    "MANY_IMAGES",
    "PRESETS",
    "Compared",
    "Compiled",
    "CompiledStage",
    "Cost",
    "Folding",
    "Proof",
    "Wanted",
    "choose_folding",
    "compile_network",
    "load_folding",
    "proof_images",
    "read_folding",
]
