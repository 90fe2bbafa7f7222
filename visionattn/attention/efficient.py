"""Efficient attention: each channel of the keys is a map that gathers values, each query a mixture of what it gathered.

Shapes: B batch, H W map, C channels, T tokens, N heads, D width of a head's queries and keys, E width of its values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from visionattn.attention.gates import gated
from visionattn.attention.linear import Factors, at_least_float32, linear_attention
from visionattn.attention.mixer import StageContext
from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float


class EfficientAttention(nn.Module):
    """Linear attention with softmax on both sides.

    Shen et al. 2018, *Efficient Attention: Attention with Linear Complexities*, arXiv 1812.01243.

    Queries go through a softmax over their channels, keys through one over the map, channel by channel; the weights of
    a query then sum to 1 and need no denominator, and no factor for the width of heads. Several heads are the published
    code's addition. The residual that the published module ends with is the block's here. A bias of keys cancels in
    their softmax; it is kept for published weights. Cost per query: ``2 * D * E`` multiply-adds and head.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        key_dim: width of all heads' queries, and of their keys; None: C.
        value_dim: width of all heads' values; None: C.

    Raises:
        ValueError: ``key_dim`` or ``value_dim`` is not a positive multiple of ``num_heads``.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    gates_heads = True

    def __init__(
        self, dim: int, num_heads: int, index: int = 0, *, key_dim: int | None = None, value_dim: int | None = None
    ):
        super().__init__()
        key_dim, value_dim = (dim if width is None else width for width in (key_dim, value_dim))
        if min(key_dim, value_dim, num_heads) < 1 or key_dim % num_heads or value_dim % num_heads:
            raise ValueError(
                f"key_dim {key_dim} and value_dim {value_dim} must be positive multiples of num_heads {num_heads}"
            )
        self.num_heads, self.widths = num_heads, [key_dim, key_dim, value_dim]
        self.qkv = Linear(dim, sum(self.widths))
        self.proj = Linear(value_dim, dim)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        qkv = self.qkv(x)
        with autocast_disabled(x.device):
            parts = at_least_float32(qkv).flatten(1, 2).split(self.widths, dim=2)
            q, k, v = (part.unflatten(2, (self.num_heads, -1)) for part in parts)
            out = linear_attention(q.softmax(-1), k.softmax(1), v, Factors()).to(qkv.dtype)
        return self.proj(gated(out.unflatten(1, x.shape[1:3]), context).flatten(3))

    def extra_repr(self) -> str:
        return f"key_dim={self.widths[0]}, value_dim={self.widths[2]}, num_heads={self.num_heads}"
