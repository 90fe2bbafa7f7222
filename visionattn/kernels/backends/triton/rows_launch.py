"""The launches of layer norms and of GELU's gradient, and their registered ops.

Legend: C channels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.backends.triton.depthwise_launch import processors, run
from visionattn.kernels.backends.triton.fallback import Fallback
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.rows_kernels import gelu_backward_kernel, norm_backward_kernel, norm_kernel
from visionattn.kernels.custom_op import define, under_autograd
from visionattn.kernels.eager import differentiable_gradients
from visionattn.kernels.flops import register_no_flops

NUMBERS = 2048
"""Of a tile: 16 of a thread."""
BLOCK = 128
"""Channels of a tile of GELU's gradient."""
OPTIONS = {"num_warps": 4, "num_stages": 2, "enable_fp_fusion": True}
PROGRAMS, TILES = 8, 4
"""Most programs of a multiprocessor, and fewest tiles of one, where each keeps sums over its rows."""


def norm_forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The norm of ``(..., C)``, and mean and inverse deviation of each row, ``(..., 1)`` in float32."""
    x = x.contiguous()
    out, stats = torch.empty_like(x), (*x.shape[:-1], 1)
    mean, rstd = (x.new_empty(stats, dtype=torch.float32) for _ in range(2))
    launch = _norm(x.numel() // x.shape[-1], x.shape[-1], eps, x.dtype, x.device)
    run(launch, x, weight, bias, out, mean, rstd)
    return out, mean, rstd


def norm_backward(
    grad: Tensor, added: Tensor | None, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient of x, plus ``added``, and those of weight and bias, ``(2, C)``."""
    grad, x = grad.contiguous(), x.contiguous()
    added = None if added is None else added.contiguous()
    channels, dx = x.shape[-1], torch.empty_like(x)
    kinds = grad.dtype, added is not None, None if added is None else added.dtype, x.dtype, x.device
    launch, parts = _norm_backward(x.numel() // channels, channels, processors(x.device), *kinds)
    partial = x.new_empty((parts, 2 * channels), dtype=torch.float32)
    run(launch, grad, grad if added is None else added, x, weight, mean.contiguous(), rstd.contiguous(), dx, partial)
    return dx, partial.sum(0).view(2, channels)


def gelu_backward(grad: Tensor, x: Tensor, approximate: str) -> tuple[Tensor, Tensor]:
    """The gradient of x under GELU, and its sum over rows in float32."""
    grad, x = grad.contiguous(), x.contiguous()
    channels, dx = x.shape[-1], torch.empty_like(x)
    of = x.numel() // channels, channels, approximate == "tanh"
    launch, parts = _gelu_backward(*of, processors(x.device), grad.dtype, x.dtype, x.device)
    partial = x.new_empty((parts, channels), dtype=torch.float32)
    run(launch, grad, x, dx, partial)
    return dx, partial.sum(0)


def _plain_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    out, mean, rstd = torch.native_layer_norm(x.float(), weight.shape, weight, bias, eps)
    return out.to(x.dtype), mean, rstd


def _plain_norm_backward(
    grad: Tensor, added: Tensor | None, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    given = grad.float().contiguous(), x.float().contiguous(), weight.shape, mean, rstd, weight, weight
    dx, *sums = torch.ops.aten.native_layer_norm_backward(*given, [True, True, True])
    return (dx if added is None else dx + added).to(x.dtype), torch.stack(sums)


def _plain_gelu_backward(grad: Tensor, x: Tensor, approximate: str) -> tuple[Tensor, Tensor]:
    dx = torch.ops.aten.gelu_backward(grad.float(), x.float(), approximate=approximate).contiguous()
    return dx.to(x.dtype), dx.flatten(0, -2).sum(0)


def _tile(channels: int) -> dict[str, int]:
    """Rows and channels of a norm's tile: whole rows."""
    width = 1 << max(channels - 1, 1).bit_length()
    return {"ROWS": max(1, NUMBERS // width), "CHANNELS": width}


@lru_cache(maxsize=1024)
def _norm(rows: int, channels: int, eps: float, *kinds: Any) -> Launch:
    tile = _tile(channels)
    return Launch(norm_kernel, (-(-rows // tile["ROWS"]),), (rows, channels, eps), {**tile, **OPTIONS})


@lru_cache(maxsize=1024)
def _norm_backward(rows: int, channels: int, processors: int, kind: Any, add: bool, *kinds: Any) -> tuple[Launch, int]:
    """The launch, and its number of programs: fixed by device and shape, so that bits repeat."""
    tile = _tile(channels)
    tiles = -(-rows // tile["ROWS"])
    parts = min(-(-tiles // TILES), processors * PROGRAMS)
    numbers, constants = (rows, channels, tiles, parts), {"ADD": add, **tile, **OPTIONS}
    return Launch(norm_backward_kernel, (parts,), numbers, constants), parts


@lru_cache(maxsize=1024)
def _gelu_backward(rows: int, channels: int, tanh: bool, processors: int, *kinds: Any) -> tuple[Launch, int]:
    tile = {"ROWS": NUMBERS // BLOCK, "CHANNELS": BLOCK}
    tiles, blocks = -(-rows // tile["ROWS"]), -(-channels // BLOCK)
    parts = min(-(-tiles // TILES), -(-processors * PROGRAMS // blocks))
    numbers, constants = (rows, channels, blocks, tiles, parts), {"TANH": tanh, **tile, **OPTIONS}
    return Launch(gelu_backward_kernel, (blocks * parts,), numbers, constants), parts


def _norm_fake(x, weight, bias, eps):
    stats = x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)
    return x.new_empty(x.shape), stats, torch.empty_like(stats)


def _norm_backward_fake(grad, added, x, weight, mean, rstd):
    return x.new_empty(x.shape), weight.new_empty((2, weight.shape[0]))


def _gelu_backward_fake(grad, x, approximate):
    return x.new_empty(x.shape), x.new_empty(x.shape[-1:], dtype=torch.float32)


def _both(x, weight, bias, eps, traced):
    """Without a gradient the norm is :func:`norm_forward`; this is for completeness of the op."""
    return x.clone(), norm_forward_op(x, weight, bias, eps)[0]


or_torch = Fallback("norms and GELU's gradients")
NORMED = "Tensor x, Tensor weight, Tensor bias, float eps"
norm_forward_op = define(
    "layer_norm", f"({NORMED}) -> (Tensor, Tensor, Tensor)", or_torch(norm_forward, _plain_norm, 0), _norm_fake
)
norm_backward_op = define(
    "layer_norm_backward",
    "(Tensor grad, Tensor? added, Tensor x, Tensor weight, Tensor mean, Tensor rstd) -> (Tensor, Tensor)",
    or_torch(norm_backward, _plain_norm_backward, 2),
    _norm_backward_fake,
)
norm_op = define(
    "layer_norm_beside",
    f"({NORMED}, bool traced) -> (Tensor, Tensor)",
    _both,
    lambda x, *_: (x.new_empty(x.shape), x.new_empty(x.shape)),
)
gelu_op = define(
    "biased_gelu",
    "(Tensor x, Tensor bias, str approximate) -> Tensor",
    lambda x, bias, approximate: F.gelu(x, approximate=approximate),
    lambda x, *_: x.new_empty(x.shape),
)
gelu_backward_op = define(
    "biased_gelu_backward",
    "(Tensor grad, Tensor x, str approximate) -> (Tensor, Tensor)",
    or_torch(gelu_backward, _plain_gelu_backward, 1),
    _gelu_backward_fake,
)


class _Norm(torch.autograd.Function):
    """x itself, and its norm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, traced: bool
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        with torch._C._AutoDispatchBelowAutograd():
            if traced:
                normed, mean, rstd = torch.native_layer_norm(x.float(), weight.shape, weight, bias, eps)
                normed = normed.to(x.dtype)
            else:
                normed, mean, rstd = norm_forward_op(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.set_materialize_grads(False)
        ctx.eps = eps
        return x.view_as(x), normed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (x, weight, bias, mean, rstd), (of_x, grad), wanted = ctx.saved_tensors, grads, ctx.needs_input_grad[:3]
        if grad is None:
            return of_x, None, None, None, None
        if torch.is_grad_enabled():

            def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
                return F.layer_norm(x.float(), weight.shape, weight, bias, ctx.eps).to(x.dtype)

            to_x, *others = differentiable_gradients(plain, (x, weight, bias), grad, wanted)
            return to_x if to_x is None or of_x is None else to_x + of_x, *others, None, None
        to_x, sums = norm_backward_op(grad, of_x, x, weight, mean, rstd)
        gradients = to_x, *sums.unbind()
        return *(one if needed else None for one, needed in zip(gradients, wanted, strict=True)), None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, approximate: str) -> Tensor:
        ctx.save_for_backward(x, bias)
        ctx.approximate = approximate
        with torch._C._AutoDispatchBelowAutograd():
            return F.gelu(x, approximate=approximate)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, bias), grad = ctx.saved_tensors, grads[0]
        if torch.is_grad_enabled():
            x = x + (bias - bias.detach())  # x depends on the bias, which its graph does not know
            dx = torch.ops.aten.gelu_backward(grad, x, approximate=ctx.approximate)
            of_bias = dx.flatten(0, -2).sum(0)
        else:
            dx, of_bias = gelu_backward_op(grad, x, ctx.approximate)
        of_x, wanted = ctx.needs_input_grad[:2]
        return dx if of_x else None, of_bias.to(bias.dtype) if wanted else None, None


under_autograd(norm_op, _Norm, tensors=3)
under_autograd(gelu_op, _Gelu, tensors=2)
register_no_flops(norm_forward_op, norm_backward_op, norm_op, gelu_op, gelu_backward_op)
