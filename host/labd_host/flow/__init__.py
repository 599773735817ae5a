"""FINN: the stages from an exported network to a folded dataflow graph, each proven against the one before.

`compile_network` is the way in. Importing this package does not import FINN.
"""

from labd_host.flow.compiled_network import CompiledNetwork, CompiledStage
from labd_host.flow.compiler import compile_network
from labd_host.flow.cost import Cost
from labd_host.proof.proof import CHECKS, MANY_IMAGES, Compared, Proof, proof_images

__all__ = [
    "CHECKS",
    "MANY_IMAGES",
    "Compared",
    "CompiledNetwork",
    "CompiledStage",
    "Cost",
    "Proof",
    "compile_network",
    "proof_images",
]
