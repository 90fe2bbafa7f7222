"""Depthwise 3x3 convolutions: by Triton kernels on CUDA devices; of stride 2 in bfloat16 by own code on the CPU.

oneDNN's gradients of such a strided convolution in bfloat16 take 20 to 120 times as long as those of the ``cpp``
library, which sum in float32 and pad nothing. It runs where training differentiates them.

Shapes: B batch, H W map, C channels, h w the map that comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.kernels.backends.cpp import layers
from visionattn.kernels.backends.triton import depthwise as triton
from visionattn.kernels.convolution import convolve
from visionattn.kernels.eager import differentiable_gradients, differentiates, has_hooks, reduced, runs_own_code

Convolution = Callable[[Tensor, Tensor], Tensor]


def on_map(layer: nn.Conv2d, x: Tensor, *, add: bool = False) -> Tensor:
    """A depthwise convolution of a map with channels last, plus the map itself with ``add``.

    Args:
        layer: the convolution, which keeps the size of a map.
        x: map ``(B, H, W, C)``.
        add: add x.

    Shape:
        x ``-> (B, H, W, C)``
    """
    image = x.permute(0, 3, 1, 2)
    if _plain_3x3(layer) and _on_a_card(image, layer.weight, layer.bias):
        size = x.shape[1], x.shape[2]
        out = triton.convolve(image, layer.weight, layer.bias, (1, 1), size, 1, add, _result(x, add))
        return out.permute(0, 2, 3, 1)
    y = convolve(layer, image).permute(0, 2, 3, 1)
    return x + y if add else y


def _plain_3x3(layer: nn.Conv2d) -> bool:
    """Whether a call of the layer is nothing but the convolution of ``_on_a_card``, which looks at the weight."""
    usual = layer.stride == layer.padding == layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return type(layer) is nn.Conv2d and usual and not has_hooks(layer)


def depthwise(
    plain: Convolution,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    size: tuple[int, int],
    stride: int,
) -> Tensor:
    """A depthwise 3x3 convolution, any number of times differentiable.

    Args:
        plain: the same convolution by torch's operators, a function of x and weight.
        x: map ``(B, C, H, W)``.
        weight: ``(C, 1, 3, 3)``.
        bias: ``(C,)`` or None.
        padding: rows and columns of zeros at the top and the left.
        size: h and w; at the bottom and the right there are as many zeros as that needs.
        stride: of the convolution.

    Shape:
        x ``-> (B, C, h, w)``; own code gives and wants channels last in memory.
    """
    if _on_a_card(x, weight, bias):
        return triton.convolve(x, weight, bias, padding, size, stride, False, _result(x, False))
    if stride != 2 or bias is not None or not _own(x, weight):
        return plain(x, weight)
    out: Tensor = _Depthwise.apply(x.to(torch.bfloat16), weight.to(torch.bfloat16), plain, padding, size)
    return out


def _on_a_card(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the Triton kernels convolve a map ``(B, C, H, W)``: no transform looks into them."""
    if triton.refuses(x, weight, bias) or not (torch.is_autocast_enabled(x.device.type) or x.dtype == weight.dtype):
        return False
    return torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active()


def _result(x: Tensor, add: bool) -> torch.dtype:
    """The type of the result of torch's convolution, or of its sum with x."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return torch.promote_types(x.dtype, dtype) if add else dtype


def _own(x: Tensor, weight: Tensor) -> bool:
    return (
        differentiates(x, weight)
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
