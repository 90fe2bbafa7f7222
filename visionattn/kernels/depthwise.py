"""Depthwise 3x3 convolutions of stride 2 in bfloat16 on the CPU, where training differentiates them.

oneDNN's gradients of such a convolution in bfloat16 take 20 to 120 times as long as those of the ``cpp`` library, which
sum in float32 and pad nothing.

Shapes: B batch, H W map, C channels, h w the map that comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import layers
from visionattn.kernels.eager import differentiable_gradients, reduced, runs_own_code

Convolution = Callable[[Tensor, Tensor], Tensor]


def depthwise(plain: Convolution, x: Tensor, weight: Tensor, padding: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A depthwise 3x3 convolution of stride 2 without bias, any number of times differentiable.

    Args:
        plain: the same convolution by torch's operators, a function of x and weight.
        x: map ``(B, C, H, W)``.
        weight: ``(C, 1, 3, 3)``.
        padding: rows and columns of zeros at the top and the left.
        size: h and w; at the bottom and the right there are as many zeros as that needs.

    Shape:
        x ``-> (B, C, h, w)``; own code gives and wants channels last in memory.
    """
    if not _own(x, weight):
        return plain(x, weight)
    out: Tensor = _Depthwise.apply(x.to(torch.bfloat16), weight.to(torch.bfloat16), plain, padding, size)
    return out


def _own(x: Tensor, weight: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and (x.requires_grad or weight.requires_grad)
        and reduced(x)
        and x.shape[1] % 16 == 0
        and runs_own_code(x, weight)
        and not layers.unavailable()
    )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, plain: Convolution, padding: tuple[int, int], size: tuple[int, int]
    ) -> Tensor:
        return layers.depthwise(_channels_last(x), weight, padding, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.plain, ctx.padding, _ = inputs[2:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), grad = ctx.saved_tensors, grads[0]
        to_x, to_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled() or not runs_own_code(grad, x, weight):
            return *differentiable_gradients(ctx.plain, (x, weight), grad, (to_x, to_weight)), None, None, None
        grad, x = _channels_last(grad), _channels_last(x)
        return (
            layers.depthwise_input(grad, x, weight, ctx.padding) if to_x else None,
            layers.depthwise_weight(grad, x, ctx.padding).to(weight.dtype) if to_weight else None,
            *(None,) * 3,
        )


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
