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
from visionattn.kernels.eager import differentiable_gradients, runs_own_code

SMALLEST = 1 << 14
"""Numbers below which torch's own norm is as fast."""


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` over the last axis, with the same parameters, initial values and result up to rounding.

    Shape:
        ``(..., C) -> (..., C)``
    """

    def forward(self, input: Tensor) -> Tensor:
        x, weight, bias = input, self.weight, self.bias
        if not _own(x, weight, bias) or self.normalized_shape != x.shape[-1:]:
            return super().forward(x)
        if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad):
            out: Tensor = _LayerNorm.apply(x, weight, bias, self.eps)[0]
            return out
        return layers.layer_norm(x, weight, bias, self.eps, stats=False)[0]


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
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor | None]:
        return layers.layer_norm(x, weight, bias, eps, stats=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:3], output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.eps = inputs[3]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (x, weight, bias, stats), grad, wanted = ctx.saved_tensors, grads[0], ctx.needs_input_grad[:3]
        if grad is None:
            return (None,) * 4
        if torch.is_grad_enabled() or not runs_own_code(grad, x, weight):

            def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
                return F.layer_norm(x, weight.shape, weight, bias, ctx.eps)

            return *differentiable_gradients(plain, (x, weight, bias), grad, wanted), None
        gradients = layers.layer_norm_backward(grad.contiguous(), x, weight, stats)
        return *(one if needed else None for one, needed in zip(gradients, wanted, strict=True)), None
