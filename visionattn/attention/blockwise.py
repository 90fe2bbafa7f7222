"""Linear attention with a state for each block of the map.

Shapes: B batch, H W map, C channels, M blocks, K tokens of a block, N heads, D head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.linear import at_least_float32, inner_sum, read, state_of
from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit, from_windows, round_up, to_windows
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.geometry import as_pair
from visionattn.kernels.norm import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Float


class BlockwiseLinearAttention(QKVAttention):
    """Multi-head linear attention (MHLA): the queries of each block read their own mixture of all blocks' states.

    Zhang et al. 2026, *MHLA: Restoring Expressivity of Linear Attention via Token-Level Multi-Head*, arXiv 2601.07832.

    The map is cut into a grid of M blocks. Each sums its keys and values into a state, and a learned matrix M x M mixes
    the states for each block of queries; plain linear attention is one block. The matrix starts with weights that fall
    with the distance of blocks' centers, its rows summing to 1. Queries and keys are ``relu(norm(x)) + 1e-6``, and a
    depthwise 5x5 convolution of the values is added. Cost: ``2 * D**2`` multiply-adds per query and head, and
    ``M**2 * D**2`` per image and head.

    A map that the grid does not divide has smaller blocks at the bottom and the right; tokens that are not there count
    nothing. The published model enlarges the image instead.

    Differs from the published code: the denominator is the paper's equation 4, queries times the mixed sums of keys.
    The code mixes the denominators of the queries at the same place of all blocks; ``mixed_queries`` does so too. Its
    start normalizes columns, not rows. Neither code nor this class keeps the matrix within (0, 1), as the paper does.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        blocks: rows and columns of the grid, one number or a pair.
        qk_norm: norm queries and keys by their root mean square over all channels.
        mixed_queries: the published code's denominator.
        lepe: side of the kernel of the convolution of the values; None: no convolution.
        qkv_bias: bias in the q, k, v projection.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or ``blocks`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        blocks: int | tuple[int, int] = 4,
        qk_norm: bool = True,
        mixed_queries: bool = False,
        lepe: int | None = 5,
        qkv_bias: bool = False,
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=lepe)
        self.blocks, self.mixed_queries = as_pair("blocks", blocks), mixed_queries
        if min(self.blocks) < 1:
            raise ValueError(f"a grid has one block or more in each direction, got blocks {self.blocks}")
        self.norm = LayerNorm(dim)
        self.q_norm, self.k_norm = (nn.RMSNorm(dim) if qk_norm else nn.Identity() for _ in range(2))
        self.mixing = nn.Parameter(_nearness(*self.blocks))

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        return super().forward(self.norm(x), context)

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        height, width = qkv.shape[1:3]
        rows, columns = self.blocks
        window = round_up(height, rows) // rows, round_up(width, columns) // columns
        with autocast_disabled(qkv.device):
            q, k, v = at_least_float32(qkv).flatten(4).unbind(3)
            q, k = (F.relu(_normed(norm, part)) + 1e-6 for norm, part in ((self.q_norm, q), (self.k_norm, k)))
            q, k, v = (self._cut(part, window) for part in (q, k, v))
            out = self._read(q, k, v).flatten(3).unflatten(1, self.blocks)
        return fit(from_windows(out.to(qkv.dtype), window), (height, width)).unflatten(3, qkv.shape[4:])

    def _cut(self, x: Tensor, window: tuple[int, int]) -> Float[Tensor, "B M K N D"]:
        whole = fit(x, (window[0] * self.blocks[0], window[1] * self.blocks[1]))
        return to_windows(whole, window).flatten(1, 2).unflatten(3, (self.num_heads, -1))

    def _read(
        self, q: Float[Tensor, "B M K N D"], k: Float[Tensor, "B M K N D"], v: Float[Tensor, "B M K N D"]
    ) -> Float[Tensor, "B M K N D"]:
        sums = k.sum(2, keepdim=True)
        total = self._mixed(inner_sum(q, sums)) if self.mixed_queries else inner_sum(q, self._mixed(sums))
        return read(q, self._mixed(state_of(k, v))) / (total + 1e-6)

    def _mixed(self, x: Float[Tensor, "B M ..."]) -> Float[Tensor, "B M ..."]:
        """Weighted sums over blocks."""
        return (self.mixing.to(x.dtype) @ x.flatten(2)).view(x.shape)

    def extra_repr(self) -> str:
        return f"blocks={self.blocks}, num_heads={self.num_heads}"


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm in the precision of ``x``, whatever that of its weight is."""
    if not isinstance(norm, nn.RMSNorm):
        return norm(x)
    return F.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)


def _nearness(rows: int, columns: int) -> Float[Tensor, "M M"]:
    """What each block starts with of each other: 1 minus their distance in units of the largest; rows sum to 1."""
    centers = torch.cartesian_prod(torch.arange(rows, dtype=torch.float32), torch.arange(columns, dtype=torch.float32))
    distance = torch.cdist(centers, centers)
    near = 1 - distance / distance.max().clamp(min=1)
    return near / near.sum(1, keepdim=True)
