"""The launches of a selective scan, and its registered ops."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from visionattn.kernels.backends.torch_scan import scan_by_chunks
from visionattn.kernels.backends.triton.fallback import Fallback
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.scan_kernels import scan_backward_kernel, scan_forward_kernel
from visionattn.kernels.scan_op import ScanKernel, register_selective_scan
from visionattn.kernels.signature import stats_dtype

TOKENS, COLUMNS = 32, 32
"""Rows and columns of a tile."""


def blocks(channels: int, states: int) -> tuple[int, int]:
    """Channels of a program, and columns for each of them."""
    padded = triton.next_power_of_2(states)
    return max(1, min(COLUMNS // padded, triton.next_power_of_2(channels))), padded


def kept_shape(x: Tensor, a: Tensor) -> tuple[int, ...]:
    """The states before every tile of each direction."""
    tiles = (x.shape[1] * x.shape[2] + TOKENS - 1) // TOKENS
    return (x.shape[0], a.shape[0], tiles, x.shape[3], a.shape[2])


def forward(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Output and kept states; see :class:`visionattn.kernels.scan_op.ScanKernel`."""
    sums = stats_dtype(x.dtype)
    out = x.new_empty((x.shape[0], a.shape[0], *x.shape[1:]), dtype=sums)
    kept = x.new_empty(kept_shape(x, a), dtype=sums)
    _launch(scan_forward_kernel, (x, delta, a.contiguous().to(sums), b, c, out, kept), x, delta, a, b, c)
    return out.sum(1).to(x.dtype), kept


def backward(
    grad: Tensor, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients; see :class:`visionattn.kernels.scan_op.ScanKernel`."""
    sums, ddelta = kept.dtype, delta.new_empty(delta.shape)
    dx = kept.new_empty((x.shape[0], a.shape[0], *x.shape[1:]))
    da = kept.new_empty((x.shape[0], *a.shape))
    count = -(-x.shape[3] // blocks(x.shape[3], a.shape[2])[0])
    db, dc = (kept.new_empty((count, *b.shape)) for _ in range(2))
    tensors = grad, x, delta, a.contiguous().to(sums), b, c, kept, dx, ddelta, da, db, dc
    _launch(scan_backward_kernel, tensors, x, delta, a, b, c)
    dx, da, db, dc = (t.sum(axis) for t, axis in ((dx, 1), (da, 0), (db, 0), (dc, 0)))
    return dx.to(x.dtype), ddelta, da.to(a.dtype), db.to(b.dtype), dc.to(c.dtype)


def _launch(
    kernel: Any, tensors: tuple[Tensor, ...], x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor
) -> None:
    """One program for each image, direction and block of channels."""
    if not x.numel():
        return
    ways, channels, states = a.shape
    width, padded = blocks(channels, states)
    grid = triton.cdiv(channels, width), ways, x.shape[0]
    strides = (*x.stride()[:3], *(stride for t in (delta, b, c) for stride in t.stride()[:4]))
    constants = {"TOKENS": TOKENS, "CHANNELS": width, "STATES": padded}
    options = {"num_warps": 4, "num_stages": 2, "enable_fp_fusion": True}
    with torch.cuda.device_of(x):
        Launch(kernel, grid, (*x.shape[1:], states, ways, *strides), constants | options)(*tensors)


def _plain(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    kept = x.new_zeros(kept_shape(x, a), dtype=stats_dtype(x.dtype))
    return scan_by_chunks(x, delta, a, b, c).contiguous(), kept


def _plain_backward(
    grad: Tensor, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = [tensor.detach().requires_grad_() for tensor in (x, delta, a, b, c)]
    autograd = torch._C.DispatchKey.AutogradFunctionality  # an op's code runs below it
    with torch._C._SetExcludeDispatchKeyGuard(autograd, False), torch.enable_grad():
        dx, ddelta, da, db, dc = torch.autograd.grad(scan_by_chunks(*inputs), inputs, grad)
    return dx.contiguous(), ddelta.contiguous(), da.contiguous(), db.contiguous(), dc.contiguous()


or_chunks = Fallback("selective scans")
KERNEL = ScanKernel(or_chunks(forward, _plain, 0), or_chunks(backward, _plain_backward, 1), kept_shape)
scan = register_selective_scan("triton_scan", KERNEL)
