"""Multi-head attention around one fused operator: project to q, k, v, attend, project back.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.gates import gated
from visionattn.attention.local_encoding import LocalEncoding
from visionattn.attention.mixer import StageContext
from visionattn.attention.rotary import Rotary
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float


def head_width(dim: int, num_heads: int) -> int:
    """Channels of one head.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.
    """
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
    return dim // num_heads


class QKVAttention(nn.Module):
    """Base of the mixers whose queries, keys and values come from one linear layer.

    A subclass implements :meth:`attend`, which decides which keys a query sees.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads N.
        qkv_bias: bias in the q, k, v projection.
        lepe: side of the kernel of a :class:`LocalEncoding` of the values, which is added to what :meth:`attend` gives;
            None: none.
        rotary: how queries and keys are turned before; None: not.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.
    """

    gates_heads = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        lepe: int | None = None,
        rotary: Rotary | None = None,
    ):
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        self.position = LocalEncoding(dim, lepe) if lepe is not None else None
        self.rotary = rotary

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        b, h, w, c = x.shape
        qkv = self.qkv(x).view(b, h, w, 3, self.num_heads, c // self.num_heads)
        if self.rotary is not None:
            qkv = torch.cat([self.rotary.turn(qkv[:, :, :, :2], context), qkv[:, :, :, 2:]], dim=3)
        attended = self.attend(qkv)
        if self.position is not None:
            attended = attended + self.position(qkv[:, :, :, 2])
        return self.proj(gated(attended, context).reshape(b, h, w, c))

    @abstractmethod
    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        """Attention of queries, keys and values in one tensor ``(B, H, W, 3, N, D)``; returns ``(B, H, W, N, D)``."""
