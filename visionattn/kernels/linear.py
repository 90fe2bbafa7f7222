"""Linear layers, and layers with a GELU after them, that the CPU computes through oneDNN.

torch sends a float32 linear layer on x86 to MKL, which on processors of other makers than its own runs at a half to a
third of oneDNN's speed, and adds the bias and the GELU in passes of their own. oneDNN's product has both built in.
Everywhere else (other types and devices, small products, while a graph is traced) this is torch's own layer.

Shapes: C channels in, E channels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

SMALLEST = 1 << 21
"""Multiply-adds below which oneDNN's start-up costs more than it saves."""
_PLAIN = (Tensor, nn.Parameter)
_AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """``torch.nn.Linear`` with the same parameters, start and result up to rounding. ``(..., C) -> (..., E)``"""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, differentiable as often as one likes: x ``(..., C)``, weight ``(E, C)``, bias
    ``(E,)``.
    """
    if not _suits(x, weight) or _autocast(x) or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    if _needs_gradient(x, weight, bias):
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


def linear_then(layer: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    """``activation(layer(x))``; a GELU after a :class:`Linear` is computed with the product where no gradient is
    needed.
    """
    if type(layer) is not Linear or type(activation) is not nn.GELU or hooked(layer) or hooked(activation):
        return activation(layer(x))
    return linear_gelu(x, layer.weight, layer.bias, activation.approximate)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None, approximate: str = "none") -> Tensor:
    """``gelu(linear(x, weight, bias))`` in one pass where no gradient is needed."""
    parts = one_pass(x, weight, bias)
    if parts is None:
        return F.gelu(linear(x, weight, bias), approximate=approximate)
    return _product(*parts, "gelu", approximate)


def one_pass(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """The three in one type if oneDNN may compute their layer together with the GELU that follows, else None."""
    if not _suits(x, weight) or _needs_gradient(x, weight, bias):
        return None
    kind = torch.get_autocast_dtype("cpu") if _autocast(x) else x.dtype
    if kind not in (torch.float32, torch.bfloat16):
        return None
    given = {part.dtype for part in (x, weight, bias) if part is not None}
    if given != {kind} and not _autocast(x):
        return None
    return x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)


def convolution_gelu(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], groups: int, approximate: str = "none"
) -> Tensor:
    """``gelu(conv2d(x, weight, bias))`` padded by 1, for what :func:`one_pass` gives: x ``(B, C, H, W)``."""
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, [1, 1], stride, [1, 1], groups, "gelu", [], approximate
    )


def unwatched(module: nn.Module) -> bool:
    """Whether only the result of a module counts: no gradient, no statistics, no trace, no hooks on its parts."""
    watched = torch.is_grad_enabled() or torch.compiler.is_compiling() or any(map(hooked, module.children()))
    return not (module.training or watched)


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        _AVAILABLE
        and not torch.compiler.is_compiling()
        and type(x) in _PLAIN
        and type(weight) in _PLAIN
        and x.device.type == weight.device.type == "cpu"
        and x.dim() >= 2
        and x.numel() * weight.shape[0] >= SMALLEST
        and bool(torch.backends.mkldnn.enabled)
    )


def _autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled("cpu")


def _needs_gradient(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def hooked(module: nn.Module) -> bool:
    """Whether somebody waits for this module to be called."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


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


def _flops(x_shape: torch.Size, weight_shape: torch.Size, *args: Any, **kwargs: Any) -> int:
    return 2 * x_shape.numel() * weight_shape[0]


if _AVAILABLE:
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_flops)
