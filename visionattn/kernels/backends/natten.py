"""NATTEN (Hassani et al., 2025, arXiv 2504.16922) as a backend for neighborhoods: 0.20 or newer, where installed.

It has had no bias since 0.20, so a call with a bias is refused. With its CUDA library it runs forward and backward on
the GPU; without it only its FlexAttention form is left, which on the CPU has no backward and wants heads of 8, 16,
32, ... channels.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

import torch
from torch import Tensor

from visionattn.kernels.geometry import Geometry
from visionattn.kernels.op import Backend

OLDEST = (0, 20)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INSTALLED = find_spec("natten") is not None
VERSION = version("natten") if INSTALLED else ""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """NATTEN's 2-D neighborhood attention; see ``visionattn.kernels.op`` for the arguments."""
    from natten import na2d

    rows, cols = geometry.rows, geometry.cols
    out: Tensor = na2d(
        q.contiguous(),
        k.contiguous(),
        v.contiguous(),
        kernel_size=(rows.size, cols.size),
        stride=(rows.stride, cols.stride),
        dilation=(rows.dilation, cols.dilation),
        scale=scale,
        backend="flex-fna" if q.device.type == "cpu" else None,
    )
    return out


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why NATTEN cannot run this call, or ""."""
    if not INSTALLED:
        return "the package natten is not installed"
    if tuple(int(part) for part in VERSION.split(".")[:2]) < OLDEST:
        return f"it needs natten {OLDEST[0]}.{OLDEST[1]} or newer for strides, and {VERSION} is installed"
    if bias is not None:
        return "natten has had no relative-position bias since 0.20"
    if geometry.rows.size * geometry.cols.size == q.shape[1] * q.shape[2]:
        return "the kernel covers the whole map, which natten computes with its own dense attention"
    if q.dtype not in DTYPES:
        return f"natten computes in float32, bfloat16 or float16, and the tensors are {q.dtype}"
    if scale <= 0:
        return f"natten reads a scale of zero as its default, and was not tried with {scale}"
    return _cuda_reason(q, v) if q.is_cuda else _cpu_reason(q, k, v)


def _cuda_reason(q: Tensor, v: Tensor) -> str:
    from natten import HAS_LIBNATTEN

    if not HAS_LIBNATTEN:
        return f"natten {VERSION} is installed without its CUDA library"
    if q.shape[-1] % 8 or v.shape[-1] % 8:
        return f"natten's kernels need head widths divisible by 8, got {q.shape[-1]} and {v.shape[-1]}"
    return ""


def _cpu_reason(q: Tensor, k: Tensor, v: Tensor) -> str:
    if q.device.type != "cpu":
        return f"natten runs on the CPU and on CUDA devices, and the tensors are on {q.device}"
    if torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v)):
        return "natten has no backward on the CPU, and q, k or v needs a gradient"
    if torch.compiler.is_compiling():
        return "natten refuses to be compiled on the CPU"
    depth, depth_v = q.shape[-1], v.shape[-1]
    if depth != depth_v:
        return f"natten's FlexAttention form needs values as wide as keys, got {depth_v} and {depth}"
    if depth < 8 or depth & (depth - 1):
        return f"natten's FlexAttention form needs a head width of 8, 16, 32, ..., got {depth}"
    return ""


NEIGHBORHOOD = Backend("natten", attend, refuses)
