"""Layer norm in bfloat16 on the CPU, in training and inference.

Under autocast a CPU's maps are bfloat16 and the parameters float32, a mix for which torch's own layer norm takes two to
three times as long as reading and writing the map. Mean, deviation and all sums are float32, as in torch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.backends.cpp import layers
from visionattn.kernels.backends.triton import rows
from visionattn.kernels.eager import differentiable_gradients, differentiates, has_hooks, runs_own_code

SMALLEST = 1 << 14
"""Numbers below which torch's own norm is as fast."""


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` over the last axis, with the same parameters, initial values and result up to rounding.

    Shape:
        ``(..., C) -> (..., C)``
    """

    def forward(self, input: Tensor) -> Tensor:
        return self.beside(input)[1]

    def beside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x``, to which a residual branch is added, and its norm; the gradients of both are added in one pass."""
        weight, bias = self.weight, self.bias
        if self.normalized_shape == x.shape[-1:] and rows.norms(x, weight, bias):
            return rows.norm_beside(x, weight, bias, self.eps)
        if not _own(x, weight, bias) or self.normalized_shape != x.shape[-1:]:
            return x, super().forward(x)
        if differentiates(x, weight, bias):
            return _LayerNorm.apply(x, weight, bias, self.eps)
        return x, layers.layer_norm(x, weight, bias, self.eps, stats=False)[0]


def with_norm(x: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """``x`` and ``norm(x)``; those of a :class:`LayerNorm` without hooks by :meth:`LayerNorm.beside`.

    Shape:
        ``(..., C) -> (..., C)`` and ``(..., C)``
    """
    return norm.beside(x) if type(norm) is LayerNorm and not has_hooks(norm) else (x, norm(x))


def _own(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> bool:
    return (
        x.dtype == torch.bfloat16
        and weight is not None
        and bias is not None
        and weight.dtype == bias.dtype == torch.float32
        and runs_own_code(x, weight, bias)  # before sizes: a traced comparison of one is a recompilation
        and x.numel() >= SMALLEST
        and x.shape[-1] % 16 == 0
        and x.is_contiguous()
        and not layers.unavailable()
    )


class _LayerNorm(torch.autograd.Function):
    """x itself, and its norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        out, stats = layers.layer_norm(x, weight, bias, eps, stats=True)
        ctx.save_for_backward(x, weight, bias, stats)
        ctx.set_materialize_grads(False)
        ctx.eps = eps
        return x, out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (x, weight, bias, stats), (of_x, grad), wanted = ctx.saved_tensors, grads, ctx.needs_input_grad[:3]
        if grad is None:
            return of_x, None, None, None
        if torch.is_grad_enabled() or not runs_own_code(grad, of_x, x, weight):

            def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
                return F.layer_norm(x, weight.shape, weight, bias, ctx.eps)

            to_x, *others = differentiable_gradients(plain, (x, weight, bias), grad, wanted)
            return to_x if to_x is None or of_x is None else to_x + of_x, *others, None
        added = None if of_x is None else of_x.contiguous()
        gradients = layers.layer_norm_backward(grad.contiguous(), x, weight, stats, added)
        return *(one if needed else None for one, needed in zip(gradients, wanted, strict=True)), None
