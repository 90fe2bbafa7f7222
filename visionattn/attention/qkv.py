"""Multi-head attention around one fused operator: project to q, k, v, attend, project back.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from visionattn.attention.mixer import StageContext
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float


class QKVAttention(nn.Module):
    """Base of the mixers whose queries, keys and values come from one linear layer.

    A subclass implements :meth:`attend`, which decides which keys a query sees.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads N.
        qkv_bias: bias in the q, k, v projection.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.
    """

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        b, h, w, c = x.shape
        qkv = self.qkv(x).view(b, h, w, 3, self.num_heads, c // self.num_heads)
        return self.proj(self.attend(qkv).reshape(b, h, w, c))

    @abstractmethod
    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        """Attention of queries, keys and values in one tensor ``(B, H, W, 3, N, D)``; returns ``(B, H, W, N, D)``."""
