"""Depthwise 3x3 convolutions on CUDA devices: one pass over a map, whatever its type, with the residual in it.

Under autocast cuDNN gets a copy of the map and of the weight in 16 bits, and what is added to the convolution is added
in a pass of its own; that is more memory traffic than the convolution. These kernels read float32 or 16 bits and write
the sum. Their gradients are deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import toolchain

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def refuses(x: Tensor, weight: Tensor, bias: Tensor | None) -> str:
    """Why the kernels cannot convolve ``(B, C, H, W)`` with ``(C, 1, 3, 3)``, or ""."""
    if reason := toolchain.refuses(x):
        return reason
    tensors = [x, weight] if bias is None else [x, weight, bias]
    if any(tensor.dtype not in DTYPES for tensor in tensors):
        return f"it computes in float32, bfloat16 or float16, not in {[tensor.dtype for tensor in tensors]}"
    if tuple(weight.shape[1:]) != (1, 3, 3):
        return f"its kernels are 1 x 3 x 3, not {' x '.join(map(str, weight.shape[1:]))}"
    from visionattn.kernels.backends.triton import launch

    batch, channels, height, width = x.shape
    return launch.too_large((batch, height, width, channels, 1), 1, (channels * width,))


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, front: Sequence[int], size: Sequence[int], stride: int, add: bool,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """The convolution, plus the map with ``add``: ``(B, C, h, w)`` of type ``dtype``, channels last in memory.

    Channels are the second axis, as of torch's convolutions: a compiler that prefers channels last then means the same
    order of the numbers. It copied maps ``(B, H, W, C)`` to another.

    Args:
        x: map ``(B, C, H, W)``.
        weight: ``(C, 1, 3, 3)``.
        bias: ``(C,)`` or None.
        front: rows and columns of zeros before the map.
        size: h and w.
        stride: of the convolution.
        add: for a stride of 1.
        dtype: of the result.
    """
    from visionattn.kernels.backends.triton import depthwise_launch

    out: Tensor = depthwise_launch.depthwise_op(x, weight, bias, front, size, stride, add, dtype)
    return out
