"""The launches of a batch norm's gradient, and its registered ops.

Legend: B batch, C channels, H W map.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.backends.triton.batch_norm_kernels import batch_norm_input_kernel, batch_norm_sums_kernel
from visionattn.kernels.backends.triton.depthwise_launch import processors, run
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.rows_launch import BLOCK, NUMBERS, OPTIONS, PROGRAMS, TILES, or_torch
from visionattn.kernels.custom_op import define, under_autograd
from visionattn.kernels.eager import differentiable_gradients
from visionattn.kernels.flops import register_no_flops

GELUS = {"": 0, "none": 1, "tanh": 2}
"""What follows the norm: nothing, an exact GELU, its approximation."""


def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, gelu: str) -> tuple[Tensor, Tensor, Tensor]:
    """``gelu(batch norm)`` of a batch ``(B, C, H, W)`` by torch's operators, mean and inverse deviation ``(C,)``."""
    out, mean, rstd = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
    return F.gelu(out, approximate=gelu) if gelu else out, mean, rstd


def backward(
    grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor, gelu: str
) -> tuple[Tensor, Tensor]:
    """The gradient of x, and those of bias and weight, ``(2, C)``; maps are ``(B, C, H, W)`` with channels last."""
    grad, x = (tensor.permute(0, 2, 3, 1).contiguous() for tensor in (grad, x))
    channels, dx = x.shape[-1], torch.empty_like(x)
    of = x.numel() // channels, channels, GELUS[gelu]
    summing, parts = _sums(*of, processors(x.device), grad.dtype, x.dtype, x.device)
    partial = x.new_empty((parts, 2 * channels), dtype=torch.float32)
    given = grad, x, mean, rstd, weight, bias
    run(summing, *given, partial)
    sums = partial.sum(0)
    run(_input(*of, grad.dtype, x.dtype, x.device), *given, sums, dx)
    return dx.permute(0, 3, 1, 2), sums.view(2, channels)


def _plain(
    grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor, gelu: str
) -> tuple[Tensor, Tensor]:
    kind, (grad, x) = x.dtype, (tensor.permute(0, 2, 3, 1).float() for tensor in (grad, x))
    normed = (x - mean) * rstd
    if gelu:
        grad = torch.ops.aten.gelu_backward(grad, normed * weight + bias, approximate=gelu)
    sums = torch.stack([part.flatten(0, -2).sum(0) for part in (grad, grad * normed)])
    shift, slope = sums * (x.shape[-1] / max(x.numel(), 1))
    dx = (weight * rstd * (grad - shift - normed * slope)).to(kind).contiguous()
    return dx.permute(0, 3, 1, 2), sums


def _tile(rows: int, channels: int) -> tuple[dict[str, int], int, int]:
    """Rows and channels of a tile, and the number of tiles along both."""
    width = min(BLOCK, 1 << max(channels - 1, 1).bit_length())
    return {"ROWS": NUMBERS // width, "CHANNELS": width}, -(-rows * width // NUMBERS), -(-channels // width)


@lru_cache(maxsize=1024)
def _sums(rows: int, channels: int, gelu: int, processors: int, *kinds: Any) -> tuple[Launch, int]:
    """The launch, and its number of parts: fixed by device and shape, so that bits repeat."""
    tile, tiles, blocks = _tile(rows, channels)
    parts = min(-(-tiles // TILES), -(-processors * PROGRAMS // blocks))
    numbers, constants = (rows, channels, blocks, tiles, parts), {"GELU": gelu, **tile, **OPTIONS}
    return Launch(batch_norm_sums_kernel, (blocks * parts,), numbers, constants), parts


@lru_cache(maxsize=1024)
def _input(rows: int, channels: int, gelu: int, *kinds: Any) -> Launch:
    tile, tiles, blocks = _tile(rows, channels)
    numbers, constants = (rows, channels, blocks, 1 / max(rows, 1)), {"GELU": gelu, **tile, **OPTIONS}
    return Launch(batch_norm_input_kernel, (tiles * blocks,), numbers, constants)


def _fake(x, weight, bias, eps, gelu):
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _backward_fake(grad, x, mean, rstd, weight, bias, gelu):
    return torch.empty_like(x, memory_format=torch.channels_last), weight.new_empty((2, weight.shape[0]))


batch_norm_op = define(
    "batch_norm",
    "(Tensor x, Tensor weight, Tensor bias, float eps, str gelu) -> (Tensor, Tensor, Tensor)",
    forward,
    _fake,
)
batch_norm_backward_op = define(
    "batch_norm_backward",
    "(Tensor grad, Tensor x, Tensor mean, Tensor rstd, Tensor weight, Tensor bias, str gelu) -> (Tensor, Tensor)",
    or_torch(backward, _plain, 1),
    _backward_fake,
)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, gelu: str
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        with torch._C._AutoDispatchBelowAutograd():
            out, mean, rstd = forward(x, weight, bias, eps, gelu)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.rule = eps, gelu
        ctx.mark_non_differentiable(mean, rstd)
        ctx.set_materialize_grads(False)
        return out, mean, rstd

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *rest: None) -> tuple[Tensor | None, ...]:
        (x, weight, bias, mean, rstd), (eps, gelu), wanted = ctx.saved_tensors, ctx.rule, ctx.needs_input_grad[:3]
        if grad is None:
            return (None,) * 5
        if torch.is_grad_enabled():

            def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
                return forward(x, weight, bias, eps, gelu)[0]

            return *differentiable_gradients(plain, (x, weight, bias), grad, wanted), None, None
        dx, sums = batch_norm_backward_op(grad, x, mean, rstd, weight, bias, gelu)
        gradients = dx, sums[1], sums[0]
        return *(one if needed else None for one, needed in zip(gradients, wanted, strict=True)), None, None


under_autograd(batch_norm_op, _BatchNorm, tensors=3)
register_no_flops(batch_norm_op, batch_norm_backward_op)
