"""Backends ``fused`` and ``traceable`` of ``token_attention``: torch's ``scaled_dot_product_attention``.

``fused`` runs where torch has a fused kernel for the call: on a CUDA device, if no gradient of the bias is wanted.
``traceable`` is the same function everywhere, for graphs that leave PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from visionattn.kernels.token_op import TokenBackend


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """The attention; see ``token_op.py`` for the arguments."""
    mask = None if bias is None else bias.to(q.dtype)[None]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # heads first
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2)


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> str:
    """Why ``fused`` cannot run this call, or ""."""
    if q.device.type != "cuda":
        return f"torch's fused kernels run on a CUDA device, the tensors are on {q.device}"
    if bias is not None and bias.requires_grad and torch.is_grad_enabled():
        return "torch's fused kernels give the bias no gradient that two runs agree on"
    return ""


def lacks_forward_mode(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> str:
    """Why torch's function cannot run."""
    if forward_ad._current_level >= 0 and not torch.compiler.is_compiling():
        return "torch's scaled_dot_product_attention has no derivative in forward mode on every device"
    return ""


FUSED = TokenBackend("fused", attend, refuses)
TRACEABLE = TokenBackend("traceable", attend, lacks_forward_mode, plain=True)
