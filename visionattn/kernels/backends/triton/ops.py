"""The registered ops of the Triton backend, and its refusals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import launch
from visionattn.kernels.backends.triton.toolchain import INTERPRETED
from visionattn.kernels.custom_op import register_attention
from visionattn.kernels.signature import Kernel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST_HEAD = 128


def stats_shape(q: Tensor) -> Sequence[int]:
    """Per query and head the log-sum-exp, (B, N, H, W)."""
    batch, height, width, heads, _ = q.shape
    return batch, heads, height, width


def refuses(q: Tensor, k: Tensor, v: Tensor) -> str:
    """Why the kernels cannot run maps of this type and shape, or ""."""
    reason = refuses_maps(q, v)
    return reason or launch.too_large(q.shape, v.shape[-1], (q.stride(1), k.stride(1), v.stride(1)))


def refuses_maps(q: Tensor, v: Tensor) -> str:
    """Why the kernels cannot run with tensors of this type and heads of these widths, or ""."""
    if q.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 or float16, and the tensors are {q.dtype}"
    if INTERPRETED and q.dtype == torch.bfloat16:
        return "Triton's interpreter multiplies the bit patterns of bfloat16 tensors; use float32 or float16 there"
    if max(q.shape[-1], v.shape[-1]) > WIDEST_HEAD:
        return f"it holds heads of at most {WIDEST_HEAD} channels, and these have {q.shape[-1]} and {v.shape[-1]}"
    return ""


KERNEL = Kernel(launch.forward, launch.backward, stats_shape)
attend, attend_packed = register_attention("triton", KERNEL)
