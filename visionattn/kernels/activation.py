"""GELU in bfloat16 on the CPU, where training differentiates it.

A bfloat16 number has 65,536 values, so a function of one is a table, here made by torch's own function. torch computes
GELU and its gradient anew for each number, which takes four times as long as reading and writing them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.backends.cpp import layers
from visionattn.kernels.eager import has_hooks, runs_own_code

SMALLEST = 1 << 14
"""Numbers below which torch's own function is as fast."""


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """``torch.nn.functional.gelu``, any number of times differentiable.

    Shape:
        any
    """
    if not _tabulated(x):
        return F.gelu(x, approximate=approximate)
    out: Tensor = _Gelu.apply(x, approximate)
    return out


def activate(activation: nn.Module, x: Tensor) -> Tensor:
    """``activation(x)``; that of a GELU without hooks is :func:`gelu`."""
    if type(activation) is nn.GELU and not has_hooks(activation):
        return gelu(x, activation.approximate)
    out: Tensor = activation(x)
    return out


def _tabulated(x: Tensor) -> bool:
    return (
        x.dtype == torch.bfloat16
        and x.requires_grad
        and torch.is_grad_enabled()
        and runs_own_code(x)  # before sizes: a traced comparison of one is a recompilation
        and x.numel() >= SMALLEST
        and _dense(x)
        and not layers.unavailable()
    )


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


@lru_cache(maxsize=4)
def _tables(approximate: str) -> tuple[Tensor, Tensor]:
    """Values (bfloat16) and slopes (float32) of GELU at each bfloat16 number, by its bits."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        numbers = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
        exact = numbers.float()
        values = F.gelu(exact, approximate=approximate).to(torch.bfloat16)
        slopes = torch.ops.aten.gelu_backward(torch.ones_like(exact), exact, approximate=approximate)
    return values, slopes


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, approximate: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.approximate = approximate
        return layers.lookup(x, _tables(approximate)[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,), grad = ctx.saved_tensors, grads[0]
        if torch.is_grad_enabled() or not runs_own_code(grad, x) or grad.dtype != x.dtype:
            return torch.ops.aten.gelu_backward(grad, x, approximate=ctx.approximate), None
        if grad.stride() != x.stride():
            grad = torch.empty_like(x).copy_(grad)
        return layers.lookup_backward(grad, x, _tables(ctx.approximate)[1]), None
