"""The fast form of a training step's forward and backward pass. Train environment only.

The model (`networks.model`) holds the parameters and is the plain form; `Fused` computes the same logits
and gradients from it, in fewer passes over memory:

- batch normalisation, quantiser and max-pool are one function with a gradient written by hand, on
  channels-last memory, compiled by torch.compile where a C++ compiler works;
- signs of 1-bit weights of all layers are taken in one compiled pass;
- a 3 x 3 convolution of a 3 x 3 map is a matrix product;
- a pixel becomes the network's input through a table of 256 values.

tests/train/test_fused.py compares both forms in float32. Evaluation and export use the plain form.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from brevitas.nn import QuantConv2d, QuantLinear
from torch import nn
from torch._dynamo import config as dynamo
from torch._dynamo.exc import TorchDynamoException
from torch._inductor import config as inductor
from torch.nn import functional

from labd_host.machine import places
from labd_host.networks.brevitas_model import centred
from labd_host.networks.table import KERNEL, POOL, NetworkSpec

SHAPES_COMPILED = 256  # of one function; torch.compile gives up after 8 unless told otherwise
WINDOW = [(row, column) for row in range(POOL) for column in range(POOL)]
NOWHERE = len(WINDOW)  # the place of a gradient that the quantiser's limits stop

Function = Callable[..., Any]


@dataclass(frozen=True)
class FusedLevels:
    """The values of an activation quantiser over -1 to 1.

    Attributes:
        bits: 1 is the sign; n bits are 2 ** n - 1 values, symmetric around zero.
    """

    bits: int

    def __call__(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values of *y*, and where its gradient passes."""
        if self.bits == 1:
            return torch.where(y >= 0, 1.0, -1.0), y.abs() <= 1
        most = 2.0 ** (self.bits - 1) - 1
        steps = torch.round(y * most)
        return steps.clamp(-most, most) / most, steps.abs() <= most


class Norm:
    """Batch normalisation, quantiser and max-pool of one layer, forward and backward, without autograd.

    Activations are (n, height, width, channels), contiguous.

    Args:
        levels: Of the quantiser.
        pool: Whether a 2 x 2 max-pool follows; height and width are even then.
    """

    def __init__(self, levels: FusedLevels, pool: bool) -> None:
        self._levels, self._pool = levels, pool

    def statistics(self, x: torch.Tensor, about: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and biased variance (channels,) of *x* in float32; *about* is near the mean, which keeps digits."""
        count = x.numel() // x.shape[-1]
        shifted = x.float().flatten(1, 2) - about
        # Image by image first: short sums lose little, and threads cannot change their order.
        mean = shifted.sum(1).sum(0) / count
        variance = (shifted * shifted).sum(1).sum(0) / count - mean * mean
        return mean + about, variance.clamp(min=0)

    def values(
        self,
        x: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        mean: torch.Tensor,
        inverse: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """The layer's output; with a pool also, for each window, the place of its value and its *x* there."""
        factor = gamma * inverse
        if not self._pool:
            value, _ = self._levels((x.float() - mean) * factor + beta)
            return (value.to(x.dtype),)
        n, height, width, channels = x.shape
        windows = x.view(n, height // POOL, POOL, width // POOL, POOL, channels)
        candidates = []
        for row, column in WINDOW:
            each = windows[:, :, row, :, column].float()
            candidates.append((each, *self._levels((each - mean) * factor + beta)))
        taken, best, inside = candidates[0]
        place = torch.zeros_like(best)
        for number, (each, value, passes) in enumerate(candidates[1:], 1):
            better = value > best  # of equal values the first, as torch's max-pool has it
            best = torch.where(better, value, best)
            place = torch.where(better, float(number), place)
            taken = torch.where(better, each, taken)
            inside = torch.where(better, passes, inside)
        place = torch.where(inside, place, float(NOWHERE))
        return best.to(x.dtype), place.to(x.dtype), taken.to(x.dtype)

    def sums(
        self,
        gradient: torch.Tensor,
        x: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        mean: torch.Tensor,
        inverse: torch.Tensor,
        place: Any,
        taken: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients (channels,) of beta and gamma."""
        if self._pool:
            x = taken
            passes = place < NOWHERE
        else:
            _, passes = self._levels((x.float() - mean) * (gamma * inverse) + beta)
        passed = torch.where(passes, gradient.float(), 0.0)
        of_beta = passed.flatten(1, 2).sum(1).sum(0)
        of_gamma = (passed * (x.float() - mean)).flatten(1, 2).sum(1).sum(0) * inverse
        return of_beta, of_gamma

    def back(
        self,
        gradient: torch.Tensor,
        x: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        mean: torch.Tensor,
        inverse: torch.Tensor,
        place: Any,
        of_beta: torch.Tensor,
        of_gamma: torch.Tensor,
    ) -> torch.Tensor:
        """The gradient of *x*."""
        count = x.numel() // x.shape[-1]
        factor = gamma * inverse
        constant, slope = factor * of_beta / count, factor * inverse * of_gamma / count
        centred = x.float() - mean
        if not self._pool:
            _, passes = self._levels(centred * factor + beta)
            passed = torch.where(passes, gradient.float(), 0.0)
            return (passed * factor - constant - centred * slope).to(x.dtype)
        n, height, width, channels = x.shape
        shape = (n, height // POOL, POOL, width // POOL, POOL, channels)
        number = torch.arange(len(WINDOW), device=x.device, dtype=torch.float32).view(1, 1, POOL, 1, POOL, 1)
        here = place.float()[:, :, None, :, None, :] == number
        passed = torch.where(here, gradient.float()[:, :, None, :, None, :], 0.0)
        return (passed * factor - constant - centred.view(shape) * slope).to(x.dtype).view(x.shape)


class _NormFunction(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """`Norm` as a function that autograd knows."""

    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        about: torch.Tensor,
        epsilon: float,
        parts: Parts,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, gamma, beta = x.detach(), gamma.detach(), beta.detach()
        mean, variance = parts.statistics(x, about)
        inverse = torch.rsqrt(variance + epsilon)
        value, *window = parts.values(x, gamma, beta, mean, inverse)
        context.parts = parts
        context.save_for_backward(x, gamma, beta, mean, inverse, *window)
        context.mark_non_differentiable(mean, variance)
        return value, mean, variance

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        x, gamma, beta, mean, inverse, *window = context.saved_tensors
        place, taken = window or (None, None)
        gradient = gradient.contiguous()
        of_beta, of_gamma = context.parts.sums(gradient, x, gamma, beta, mean, inverse, place, taken)
        of_x = context.parts.back(gradient, x, gamma, beta, mean, inverse, place, of_beta, of_gamma)
        return of_x, of_gamma, of_beta, None, None, None


class _SignFunction(torch.autograd.Function):  # type: ignore[misc]
    """Signs of latent weights; their gradients pass unchanged."""

    @staticmethod
    def forward(context: Any, dtype: torch.dtype, take: Function, *weights: torch.Tensor) -> Any:
        return tuple(take(dtype, *(weight.detach() for weight in weights)))

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        return (None, None, *(gradient.float() for gradient in gradients))


def _signs(dtype: torch.dtype, *weights: torch.Tensor) -> list[torch.Tensor]:
    return [torch.where(weight >= 0, 1.0, -1.0).to(dtype) for weight in weights]


@dataclass(frozen=True)
class Parts:
    """The functions of a `Norm`, compiled or as they are."""

    statistics: Function
    values: Function
    sums: Function
    back: Function


@dataclass(frozen=True)
class FusedBlock:
    """A layer with weights and what follows it up to the next one.

    Attributes:
        layer: With the latent weights.
        product: "convolution", "whole map" (the window is as large as the map), or "linear".
        norm: Batch normalisation, whose statistics are kept up to date; None after the last layer.
        parts: Batch normalisation, quantiser and pool.
        pool: Whether a max-pool of its own follows, on maps with a side that is not even.
        dropout: Probability of dropping an output.
    """

    layer: nn.Module
    product: str
    norm: nn.Module | None
    parts: Parts | None
    pool: bool
    dropout: float


class Fused:
    """Logits of a model in training mode, computed by the fast form.

    Attributes:
        float_weights: Whether weights are used as they are, instead of quantised.
    """

    def __init__(self, model: nn.Module, network: NetworkSpec, dtype: torch.dtype, *, compiled: bool) -> None:
        """Plan the layers of *model*.

        Args:
            model: The plain form; holds parameters and statistics, which stay shared with it.
            network: Its structure.
            dtype: torch.float32 or torch.bfloat16, of activations and products.
            compiled: Whether torch.compile compiles the functions.
        """
        self.float_weights = False
        self._dtype = dtype
        self._one_bit = network.weight_bits == 1
        self._compile: Callable[[Function], Function] = _compile if compiled else _as_it_is
        self._take_signs = self._compile(_signs)
        fully_connected = network.kind == "fc"
        layers = list(model.features if fully_connected else [*model.conv_features, *model.linear_features])
        self._input, self._last = layers[0], layers[-1]
        self._input_dropout = layers[1].p if fully_connected else 0.0
        self._fully_connected = fully_connected
        self._blocks = self._plan(layers, network)
        self._pixels: torch.Tensor | None = None

    def __call__(self, planes: torch.Tensor) -> torch.Tensor:
        """Float32 logits (n, classes) of uint8 *planes* (n, channels, height, width)."""
        count = len(planes)
        x = self._inputs(planes)
        for block, weight in zip(self._blocks, self._weights(), strict=True):
            if block.product == "convolution":
                planes_out = functional.conv2d(
                    x.permute(0, 3, 1, 2), weight.contiguous(memory_format=torch.channels_last)
                )
                x = planes_out.permute(0, 2, 3, 1).contiguous()
            elif block.product == "whole map":
                flat = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
                x = functional.linear(x.reshape(count, -1), flat)[:, None, None, :]
            else:
                if x.dim() == 4:  # elements of a map in the order of the plain form: channel by channel
                    x = x.permute(0, 3, 1, 2).reshape(count, -1)
                x = functional.linear(x, weight)
            if block.norm is None or block.parts is None:
                break
            x = _normalised(x, block.norm, block.parts)
            if block.pool:
                x = functional.max_pool2d(x.permute(0, 3, 1, 2), POOL).permute(0, 2, 3, 1).contiguous()
            if block.dropout:
                x = functional.dropout(x, block.dropout)
        return self._last(x.float())

    def _plan(self, layers: list[nn.Module], network: NetworkSpec) -> list[FusedBlock]:
        height, width, _ = network.input_shape
        parts: dict[tuple[float, bool], Parts] = {}
        blocks = []
        for number, layer in enumerate(layers):
            if isinstance(layer, QuantConv2d):
                product = "whole map" if (height, width) == (KERNEL, KERNEL) else "convolution"
                height, width = height - KERNEL + 1, width - KERNEL + 1
            elif isinstance(layer, QuantLinear):
                product = "linear"
            else:
                continue
            norm, following = layers[number + 1], layers[number + 3 : number + 4]
            if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                blocks.append(FusedBlock(layer, product, None, None, False, 0.0))
                continue
            pool = any(isinstance(each, nn.MaxPool2d) for each in following)
            even = height % POOL == 0 and width % POOL == 0
            if pool:
                height, width = height // POOL, width // POOL
            key = norm.eps, pool and even
            if key not in parts:
                parts[key] = self._made(Norm(FusedLevels(network.act_bits), pool and even))
            dropout = sum(each.p for each in following if isinstance(each, nn.Dropout))
            blocks.append(FusedBlock(layer, product, norm, parts[key], pool and not even, dropout))
        return blocks

    def _made(self, norm: Norm) -> Parts:
        functions = norm.statistics, norm.values, norm.sums, norm.back
        return Parts(*(self._compile(each) for each in functions))

    def _inputs(self, planes: torch.Tensor) -> torch.Tensor:
        """What the first layer takes, (n, height, width, channels) or (n, features)."""
        if self._pixels is None or self._pixels.device != planes.device:
            with torch.no_grad():
                pixels = torch.arange(256, device=planes.device, dtype=torch.float32) / 255.0
                self._pixels = self._input(centred(pixels)).to(self._dtype)
        arranged = planes.flatten(1) if self._fully_connected else planes.permute(0, 2, 3, 1)
        x = self._pixels[arranged.int()]
        return functional.dropout(x, self._input_dropout) if self._input_dropout else x

    def _weights(self) -> list[torch.Tensor]:
        """The weights of all layers as products take them."""
        latent = [block.layer.weight for block in self._blocks]
        if self.float_weights:
            return [weight.to(self._dtype) for weight in latent]
        if self._one_bit:
            return list(_SignFunction.apply(self._dtype, self._take_signs, *latent))
        return [block.layer.quant_weight().value.to(self._dtype) for block in self._blocks]


def _normalised(x: torch.Tensor, norm: nn.Module, parts: Parts) -> torch.Tensor:
    """*x* after batch normalisation, quantiser and pool; the running statistics follow."""
    flat = x.dim() == 2
    maps = x[:, None, None, :] if flat else x
    value, mean, variance = _NormFunction.apply(
        maps, norm.weight, norm.bias, norm.running_mean.clone(), norm.eps, parts
    )
    count = maps.numel() // maps.shape[-1]
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    return value[:, 0, 0, :] if flat else value


def can_compile(device: str) -> bool:
    """Whether torch.compile works here: on a CPU it needs a C++ compiler."""
    try:
        _compile(_signs)(torch.float32, torch.ones(2, device=device))
    except (TorchDynamoException, OSError, RuntimeError):
        return False
    return True


def prepare_compiler(threads: int) -> None:
    """Set torch.compile up: its results are kept in the user's cache, by *threads*, which stand in the code."""
    folder = places.cache() / "torch" / f"{torch.__version__}-{threads}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    inductor.compile_threads = 1  # here, not in processes that outlive a killed training
    dynamo.recompile_limit = SHAPES_COMPILED


def _compile(function: Function) -> Function:
    compiled: Function = torch.compile(function, dynamic=False, fullgraph=True)
    return compiled


def _as_it_is(function: Function) -> Function:
    return function
