"""Backend ``triton`` of ``routed_attention``: fused forward and backward on CUDA devices, no atomics.

Tested in Triton's interpreter and through its compiler; it has run on no card yet.
"""

from __future__ import annotations

from torch import Tensor

from visionattn.kernels.backends.triton import toolchain
from visionattn.kernels.routed_op import Region, RoutedBackend


def attend(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
    """The attention; see ``routed_op.py`` for the arguments."""
    from visionattn.kernels.backends.triton import routed_launch

    return routed_launch.attend(q, k, v, routes, region, scale)


def attend_packed(qkv: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
    """The same of queries, keys and values in one tensor ``(B, H, W, 3, N, D)``."""
    from visionattn.kernels.backends.triton import routed_launch

    return routed_launch.attend_packed(qkv, routes, region, scale)


def refuses(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> str:
    """Why the kernels cannot run this call, or ""."""
    if reason := toolchain.refuses(q):
        return reason
    from visionattn.kernels.backends.triton import ops

    return ops.refuses(q, k, v)


ROUTED = RoutedBackend("triton", attend, refuses, attend_packed)
