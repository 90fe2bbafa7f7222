"""Linear layers, and layers with a GELU after them, that the CPU computes through oneDNN.

torch computes a float32 linear layer on x86 with MKL, and adds the bias and the GELU in separate passes. On AMD CPUs
MKL was measured at a third to nine tenths of oneDNN's speed. oneDNN's product has bias and GELU built in. In bfloat16,
under autocast, torch uses oneDNN, but copies the bias to every row of the output first; where the CPU can do without it
the products are own ones (``linear_bf16``). Everywhere else (other types and devices, small products, while a graph is
traced) these layers are torch's own.

Shapes: C channels in, E channels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels import linear_bf16
from visionattn.kernels.activation import activate, gelu
from visionattn.kernels.backends.triton import rows
from visionattn.kernels.eager import PLAIN, differentiates, has_hooks, reduced, transformed

SMALLEST = 1 << 21
"""Multiply-adds below which oneDNN's start-up costs more than it saves."""
_CAST = (torch.float32, torch.bfloat16)
_AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """``torch.nn.Linear`` with the same parameters, initial values and result up to rounding.

    Shape:
        ``(..., C) -> (..., E)``
    """

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, any number of times differentiable.

    Shape:
        x ``(..., C)``, weight ``(E, C)``, bias ``(E,)`` ``-> (..., E)``
    """
    if not _supports_onednn(x, weight):
        return F.linear(x, weight, bias)
    if _autocast(x):
        return _autocast_linear(x, weight, bias)
    if x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    if differentiates(x, weight, bias):
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


def _autocast_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """In bfloat16 with the bias in the product: torch copies it to every row of the output before."""
    if not reduced(x) or any(tensor is not None and tensor.dtype not in _CAST for tensor in (x, weight, bias)):
        return F.linear(x, weight, bias)
    if linear_bf16.computes(x, weight, bias):
        return linear_bf16.linear(x, weight, bias)
    needed, to = differentiates(x, weight, bias), torch.bfloat16
    x, weight, bias = x.to(to), weight.to(to), None if bias is None else bias.to(to)
    return _BFloat16Linear.apply(x, weight, bias) if needed else _product(x, weight, bias)


def linear_then(layer: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    """``activation(layer(x))``.

    A GELU after a :class:`Linear` is computed with the product where no gradient is needed.
    """
    if type(layer) is not Linear or type(activation) is not nn.GELU or has_hooks(layer) or has_hooks(activation):
        return activate(activation, layer(x))
    return linear_gelu(x, layer.weight, layer.bias, activation.approximate)


def feed_forward(first: nn.Module, activation: nn.Module, second: nn.Module, x: Tensor) -> Tensor:
    """``second(activation(first(x)))``; on some CPUs two :class:`Linear` and the GELU between are one in bfloat16."""
    if type(first) is Linear and type(activation) is nn.GELU and type(second) is Linear:
        hooked = has_hooks(first) or has_hooks(activation) or has_hooks(second)
        own = has_own_product(x, first.weight, first.bias) and linear_bf16.computes(x, second.weight, second.bias)
        if own and not hooked:
            weights = (first.weight, first.bias), (second.weight, second.bias)
            return linear_bf16.feed_forward(x, *weights, activation.approximate)
    out: Tensor = second(linear_then(first, activation, x))
    return out


def has_own_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether :func:`linear` is computed by the products of ``linear_bf16``."""
    return _supports_onednn(x, weight) and linear_bf16.computes(x, weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None, approximate: str = "none") -> Tensor:
    """``gelu(linear(x, weight, bias))`` in one pass where no gradient is needed."""
    inputs = fusable_inputs(x, weight, bias)
    if inputs is None:
        if bias is not None and rows.takes_bias(x, bias):
            return rows.biased_gelu(linear(x, weight, bias.detach()), bias, approximate)
        return gelu(linear(x, weight, bias), approximate)
    return _product(*inputs, "gelu", approximate)


def fusable_inputs(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """The three in one type if oneDNN can compute the layer together with the GELU that follows, else None."""
    if not _supports_onednn(x, weight) or differentiates(x, weight, bias):
        return None
    autocast = _autocast(x)
    dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
    if dtype not in (torch.float32, torch.bfloat16):
        return None
    if not autocast and any(tensor is not None and tensor.dtype != dtype for tensor in (weight, bias)):
        return None
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def convolution_gelu(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], groups: int, approximate: str = "none"
) -> Tensor:
    """``gelu(conv2d(x, weight, bias))`` padded by 1, for inputs from :func:`fusable_inputs`: x ``(B, C, H, W)``."""
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, [1, 1], stride, [1, 1], groups, "gelu", [], approximate
    )


def is_inference(*modules: nn.Module) -> bool:
    """Whether only the result of these modules counts: no gradient, no statistics, no trace, no hooks on them."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return not any(module.training or has_hooks(module) for module in modules)


def convolution_layout(module: nn.Module, image: Tensor) -> Tensor:
    """The image ``(B, C, H, W)``, channels last in memory where that is faster.

    It is in inference, in training in bfloat16 on a CPU, and on a GPU, where a map keeps the layout of its stem: with
    channels first it would be copied for each kernel.
    """
    eager = image.device.type == "cpu" and not torch.compiler.is_compiling()
    training = image.is_cuda or (eager and reduced(image))
    return image.contiguous(memory_format=torch.channels_last) if training or is_inference(module) else image


def _supports_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        _AVAILABLE
        and not torch.compiler.is_compiling()
        and not transformed()
        and type(x) in PLAIN
        and type(weight) in PLAIN
        and x.device.type == weight.device.type == "cpu"
        and x.dim() >= 2
        and x.numel() * weight.shape[0] >= SMALLEST
        and bool(torch.backends.mkldnn.enabled)
    )


def _autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled("cpu")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none", algorithm: str = "") -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], algorithm)


class _Linear(torch.autograd.Function):
    """The three products of a linear layer, each again a :func:`linear`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), grad = ctx.saved_tensors, grads[0].contiguous()
        to_x, to_weight, to_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            linear(grad, weight.t()) if to_x else None,
            linear(x.flatten(0, -2).t(), rows.t()).t() if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


class _BFloat16Linear(_Linear):
    """The three products of a linear layer in bfloat16; those of the gradients are torch's."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), grad = ctx.saved_tensors, grads[0]
        to_x, to_weight, to_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            (rows @ weight).view(x.shape) if to_x else None,
            rows.t() @ x.flatten(0, -2) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


def _flops(x_shape: torch.Size, weight_shape: torch.Size, *args: Any, **kwargs: Any) -> int:
    return 2 * x_shape.numel() * weight_shape[0]


if _AVAILABLE:
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_flops)
