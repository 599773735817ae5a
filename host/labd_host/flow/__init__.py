"""FINN: the stages from an exported network to a folded dataflow graph, each proven against the one before.

`compile_network` is the way in. Importing this package does not import FINN.
"""

from labd_host.flow.compiler import Compiled, CompiledStage, compile_network
from labd_host.flow.cost import Cost
from labd_host.flow.proof import MANY_IMAGES, Compared, Proof, proof_images

__all__ = [
    "MANY_IMAGES",
    "Compared",
    "Compiled",
    "CompiledStage",
    "Cost",
    "Proof",
    "compile_network",
    "proof_images",
]
