"""A network of the table as a Brevitas model. Train environment only.

Layers and their order are those of Brevitas' own FC and CNV, so that published state
dictionaries of the same structure load; widths, channels and bits come from the table.

Source: Brevitas 0.13.4, brevitas_examples/bnn_pynq/models/{FC,CNV}.py.
"""

from __future__ import annotations

from typing import Any

import torch
from brevitas.core.restrict_val import RestrictValueType
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
from brevitas_examples.bnn_pynq.models.common import CommonActQuant, CommonWeightQuant
from brevitas_examples.bnn_pynq.models.tensor_norm import TensorNorm
from torch import nn

from labd_host.networks.table import KERNEL, POOL, NetworkSpec
from labd_shared.errors import ArtifactError

CNV_NORM_EPSILON = 1e-4  # batch normalisation of Brevitas' CNV; FC keeps torch's default


class FullyConnected(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Quantized input, then fully connected layers with batch normalisation.

    Input float32 (n, channels, height, width) in 0 to 1; output float32 (n, classes).
    """

    def __init__(self, network: NetworkSpec, dropout: float) -> None:
        super().__init__()
        layers = [QuantIdentity(act_quant=CommonActQuant, bit_width=network.in_bits), nn.Dropout(dropout)]
        features = network.flat_features
        for width in network.hidden:
            layers += [
                _linear(network, features, width),
                nn.BatchNorm1d(width),
                QuantIdentity(act_quant=CommonActQuant, bit_width=network.act_bits),
                nn.Dropout(dropout),
            ]
            features = width
        layers += [_linear(network, features, network.classes), TensorNorm()]
        self.features = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = centred(x.reshape(x.shape[0], -1))
        for layer in self.features:
            x = layer(x)
        return x


class Convolutional(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Convolutions and max-pools, then fully connected layers.

    Input float32 (n, channels, height, width) in 0 to 1; output float32 (n, classes).
    """

    def __init__(self, network: NetworkSpec) -> None:
        super().__init__()
        convs = [_image_quant(network.in_bits)]
        channels = network.input_shape[2]
        for conv in network.convs:
            convs += [
                QuantConv2d(
                    kernel_size=KERNEL,
                    in_channels=channels,
                    out_channels=conv.channels,
                    bias=False,
                    weight_quant=CommonWeightQuant,
                    weight_bit_width=network.weight_bits,
                ),
                nn.BatchNorm2d(conv.channels, eps=CNV_NORM_EPSILON),
                QuantIdentity(act_quant=CommonActQuant, bit_width=network.act_bits),
            ]
            convs += [nn.MaxPool2d(kernel_size=POOL)] if conv.pool else []
            channels = conv.channels
        linears = []
        features = network.flat_features
        for width in network.hidden:
            linears += [
                _linear(network, features, width),
                nn.BatchNorm1d(width, eps=CNV_NORM_EPSILON),
                QuantIdentity(act_quant=CommonActQuant, bit_width=network.act_bits),
            ]
            features = width
        linears += [_linear(network, features, network.classes), TensorNorm()]
        self.conv_features = nn.ModuleList(convs)
        self.linear_features = nn.ModuleList(linears)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = centred(x)
        for layer in self.conv_features:
            x = layer(x)
        x = x.reshape(x.shape[0], -1)
        for layer in self.linear_features:
            x = layer(x)
        return x


def build(network: NetworkSpec, *, latent_scale: float = 1.0, dropout: float = 0.0) -> nn.Module:
    """*network* with fresh weights from torch's global generator, in training mode.

    Args:
        network: Its structure.
        latent_scale: The latent weights are drawn uniformly from -latent_scale to latent_scale.
        dropout: Of a fully connected network's activations while it trains.
    """
    model = FullyConnected(network, dropout) if network.kind == "fc" else Convolutional(network)
    for layer in weighted(model):
        nn.init.uniform_(layer.weight.data, -latent_scale, latent_scale)
    return model


def load_weights(model: nn.Module, network: NetworkSpec, state: Any) -> None:
    """Give *model*, of *network*, the parameters *state*: tensors by name.

    Raises:
        ArtifactError: they are those of another network, or no parameters.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ArtifactError(
            f"the weights are not those of {network.name}: {' '.join(lines[:2])}",
            fix="choose the network they are of",
        ) from error


def weighted(model: nn.Module) -> list[nn.Module]:
    """The layers of *model* with quantized weights, in order."""
    return [layer for layer in model.modules() if isinstance(layer, QuantConv2d | QuantLinear)]


def clip_weights(model: nn.Module) -> None:
    """Bring latent weights back into -1 to 1: beyond it the gradient of the sign is zero."""
    for layer in weighted(model):
        layer.weight.data.clamp_(-1, 1)


def _linear(network: NetworkSpec, inputs: int, outputs: int) -> nn.Module:
    return QuantLinear(
        in_features=inputs,
        out_features=outputs,
        bias=False,
        weight_quant=CommonWeightQuant,
        weight_bit_width=network.weight_bits,
    )


def _image_quant(bits: int) -> nn.Module:
    """An input of -1 to 1 in steps of a power of two, Q1.7 at 8 bits."""
    return QuantIdentity(
        act_quant=CommonActQuant,
        bit_width=bits,
        min_val=-1.0,
        max_val=1.0 - 2.0 ** (1 - bits),
        narrow_range=False,
        restrict_scaling_type=RestrictValueType.POWER_OF_TWO,
    )


def centred(x: torch.Tensor) -> torch.Tensor:
    """0 to 1 becomes -1 to 1. The 1.0 has an axis, as FINN's transformations expect of constants."""
    return 2.0 * x - torch.tensor([1.0], device=x.device)
