"""The registered ops of the Triton backend, and its refusals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import launch
from visionattn.kernels.custom_op import Kernel, Maps, register_attention, register_packed_attention
from visionattn.kernels.geometry import Geometry, certainly

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST_HEAD = 128
OLDEST_CAPABILITY = (8, 0)
TOO_LARGE = "it addresses one image with 32 bits, and an image of {} x {} points needs more"


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


def forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float
) -> tuple[Tensor, Tensor]:
    """The attended map and the log-sum-exp; see :class:`visionattn.kernels.custom_op.Kernel`."""
    check_size(q, k, v)
    return launch.forward(q, k, v, bias, geometry, scale)


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    out: Tensor,
    stats: Tensor,
    geometry: Geometry,
    scale: float,
    into: Maps,
    maps: bool,
    table: bool,
) -> Tensor:
    """The gradients; see :class:`visionattn.kernels.custom_op.Kernel`."""
    check_size(*into)
    return launch.backward(grad, q, k, v, bias, out, stats, geometry, scale, into, maps=maps, table=table)


def check_size(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Check that one image is addressed with 32 bits: sizes may have been symbols when the graph was traced.

    Raises:
        ValueError: it is not.
    """
    if too_large(q, k, v):
        raise ValueError(f"the Triton backend cannot run: {TOO_LARGE.format(*q.shape[1:3])}")


def too_large(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether some image certainly needs more than 32 bits for the offsets of its numbers."""
    held = q.shape[1] * q.shape[2] * q.shape[3] * max(q.shape[-1], v.shape[-1])
    return any(certainly(size >= 2**31) for size in (held, *(t.stride(1) * t.shape[1] for t in (q, k, v))))


def refuses(q: Tensor, k: Tensor, v: Tensor, interpreted: bool) -> str:
    """Why the kernels cannot run maps of this type and shape, or ""."""
    if q.is_cuda and q.device.index in OLD_DEVICES:
        return f"its kernels need compute capability 8.0 or newer, and {OLD_DEVICES[q.device.index]}"
    if q.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 or float16, and the tensors are {q.dtype}"
    if interpreted and q.dtype == torch.bfloat16:
        return "Triton's interpreter multiplies the bit patterns of bfloat16 tensors; use float32 or float16 there"
    if max(q.shape[-1], v.shape[-1]) > WIDEST_HEAD:
        return f"it holds heads of at most {WIDEST_HEAD} channels, and these have {q.shape[-1]} and {v.shape[-1]}"
    if too_large(q, k, v):
        return TOO_LARGE.format(*q.shape[1:3])
    return ""


KERNEL = Kernel(forward, backward, stats_shape)
attend, attend_packed = register_attention("triton", KERNEL), register_packed_attention("triton", KERNEL)
