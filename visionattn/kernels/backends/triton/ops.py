"""The registered ops of the Triton backend, and its refusals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import launch
from visionattn.kernels.custom_op import register_attention
from visionattn.kernels.signature import Kernel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST_HEAD = 128
OLDEST_CAPABILITY = (8, 0)


def _old_devices() -> dict[int, str]:
    """Devices older than the kernels were compiled for. This module is imported once a call may use such a device."""
    old = {}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        major, minor = torch.cuda.get_device_capability(index)
        if (major, minor) < OLDEST_CAPABILITY:
            old[index] = f"{torch.cuda.get_device_name(index)} has {major}.{minor}"
    return old


OLD_DEVICES = _old_devices()


def stats_shape(q: Tensor) -> Sequence[int]:
    """Per query and head the log-sum-exp, (B, N, H, W)."""
    batch, height, width, heads, _ = q.shape
    return batch, heads, height, width


def refuses(q: Tensor, k: Tensor, v: Tensor, interpreted: bool) -> str:
    """Why the kernels cannot run maps of this type and shape, or ""."""
    reason = refuses_maps(q, v, interpreted)
    return reason or launch.too_large(q.shape, v.shape[-1], (q.stride(1), k.stride(1), v.stride(1)))


def refuses_maps(q: Tensor, v: Tensor, interpreted: bool) -> str:
    """Why the kernels cannot run on this device, or with tensors of this type and heads of these widths, or ""."""
    if q.is_cuda and q.device.index in OLD_DEVICES:
        return f"its kernels need compute capability 8.0 or newer, and {OLD_DEVICES[q.device.index]}"
    if q.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 or float16, and the tensors are {q.dtype}"
    if interpreted and q.dtype == torch.bfloat16:
        return "Triton's interpreter multiplies the bit patterns of bfloat16 tensors; use float32 or float16 there"
    if max(q.shape[-1], v.shape[-1]) > WIDEST_HEAD:
        return f"it holds heads of at most {WIDEST_HEAD} channels, and these have {q.shape[-1]} and {v.shape[-1]}"
    return ""


KERNEL = Kernel(launch.forward, launch.backward, stats_shape)
attend, attend_packed = register_attention("triton", KERNEL)
