"""Weights to go on training from, out of an export. Train environment only.

An export that ships holds the signs of 1-bit weights. Training goes on from latent weights of these signs
and of one size: large enough not to flip at the first steps, small enough to flip at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from onnx import numpy_helper

from labd_host.exports import load_onnx
from labd_host.networks import brevitas_model as models
from labd_host.networks.table import NetworkSpec
from labd_shared.errors import ArtifactError

LATENT_SIZE = 0.3  # trained latent weights, clipped to -1 to 1, have about this size on average
TENSOR_NORM_EPSILON = 1e-4  # Brevitas' TensorNorm; an export holds the deviation that it is part of


def state_of(path: Path, network: NetworkSpec) -> dict[str, Any]:
    """The parameters by name in the export *path* of *network*.

    Raises:
        ArtifactError: it is not an export of *network*.
    """
    graph = load_onnx(path).graph
    constants = {
        entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in graph.initializer
    }
    made_by = {name: node for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    model = models.build(network)
    state = model.state_dict()
    try:
        names = [name for name, module in model.named_modules() if module in models.weighted(model)]
        for name, product in zip(names, products, strict=True):
            weights = constants[made_by[product.input[1]].input[0]]
            state[f"{name}.weight"] = weights * LATENT_SIZE if torch.all(weights.abs() == 1) else weights
        for name in state:
            if name in constants and name.removesuffix(".weight") not in names:
                state[name] = constants[name].reshape(state[name].shape)
        deviation = constants[next(node for node in reversed(graph.node) if node.op_type == "Div").input[1]]
        norm = next(name for name in reversed(state) if name.endswith("running_var"))
        state[norm] = deviation.reshape(state[norm].shape) ** 2 - TENSOR_NORM_EPSILON
    except (KeyError, ValueError, StopIteration) as error:
        raise ArtifactError(
            f"{path} is not an export of {network.name}: {error}",
            fix="choose the network that it was made from",
        ) from error
    return dict(state)
