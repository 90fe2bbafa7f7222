"""Backend ``triton`` of ``token_attention``: fused forward and backward on CUDA devices, no atomics.

It is what trains a bias there. Tested in Triton's interpreter and through its compiler; it has run on no card yet.
"""

from __future__ import annotations

from torch import Tensor

from visionattn.kernels.backends.triton import toolchain
from visionattn.kernels.geometry import certainly
from visionattn.kernels.token_op import TokenBackend


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """The attention; see ``token_op.py`` for the arguments."""
    from visionattn.kernels.backends.triton import token_launch

    return token_launch.attend(q, k, v, bias, scale)


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> str:
    """Why the kernels cannot run this call, or ""."""
    if reason := toolchain.refuses(q):
        return reason
    from visionattn.kernels.backends.triton import ops

    if reason := ops.refuses_maps(q, v):
        return reason
    rows = (x.shape[1] * max(x.stride(1), x.shape[2] * v.shape[3]) for x in (q, k, v))
    if any(certainly(size >= 2**31) for size in (*rows, q.shape[1] * k.shape[1])):
        return f"it addresses tokens and pairs of a head with 32 bits, and {q.shape[1]} x {k.shape[1]} need more"
    return ""


TOKENS = TokenBackend("triton", attend, refuses)
