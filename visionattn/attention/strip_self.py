"""Strip self-attention: thin queries and keys, few keys and values.

Shapes: B batch, H W map, C channels, N heads, D width of a head's values, T width of its queries and keys, K keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from visionattn.attention.gates import gated
from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit, round_up
from visionattn.attention.qkv import head_width
from visionattn.kernels.linear import Linear
from visionattn.kernels.norm import LayerNorm
from visionattn.kernels.tokens import Places, token_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class StripSelfAttention(nn.Module):
    """Xu et al. 2025, *S2AFormer: Strip Self-Attention for Efficient Vision Transformer*, arXiv 2505.22195.

    Every token attends to the whole map, made cheap twice: a depthwise convolution reduces the map to one key and one
    value for each cell of ``reduction`` by ``reduction`` tokens, and queries and keys are only ``thin`` channels a
    head, while values keep all of them. "Strip" means these thin matrices, not rows or columns of the map. Cost per
    query: ``(T + D) * H * W / reduction**2`` multiply-adds and head.

    The paper's equations are kept; no code was published, and what was not to be had of its text is our choice: the
    convolution has kernel and stride ``reduction`` and is followed by a layer norm, and ``thin`` is 8. A map that cells
    do not divide is enlarged with zeros at the bottom and the right before the convolution; every cell, cut or not,
    counts once.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        reduction: side of a cell; 1: no convolution, a key and a value for every token.
        thin: width T of a head's queries and keys.
        qkv_bias: bias in the projections to queries and values; one of keys would change nothing.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or ``reduction`` or ``thin`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    gates_heads = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        reduction: int = 1,
        thin: int = 8,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__()
        head_width(dim, num_heads)
        if reduction < 1 or thin < 1:
            raise ValueError(f"reduction and thin must be positive, got {reduction} and {thin}")
        self.num_heads, self.reduction, self.thin, self.backend = num_heads, reduction, thin, backend
        self.q = Linear(dim, num_heads * thin, bias=qkv_bias)
        self.k = Linear(dim, num_heads * thin, bias=False)
        self.v = Linear(dim, dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        reduced = reduction > 1
        self.reduce = nn.Conv2d(dim, dim, reduction, stride=reduction, groups=dim) if reduced else nn.Identity()
        self.norm = LayerNorm(dim) if reduced else nn.Identity()

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        b, h, w, c = x.shape
        cells = self.cells(x)
        q, k, v = (self._heads(part) for part in (self.q(x), self.k(cells), self.v(cells)))
        places = Places((h, w), (cells.shape[1], cells.shape[2]), cell=self.reduction)
        out = token_attention(q, k, v, backend=self.backend, places=places)
        return self.proj(gated(out.unflatten(1, (h, w)), context).reshape(b, h, w, c))

    def cells(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w C"]:
        """What keys and values are made of: ``(B, H, W, C) -> (B, ceil(H / reduction), ceil(W / reduction), C)``."""
        if self.reduction == 1:
            return x
        x = fit(x, (round_up(x.shape[1], self.reduction), round_up(x.shape[2], self.reduction)))
        return self.norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))

    def _heads(self, x: Tensor) -> Tensor:
        """Split the heads: ``(B, rows, columns, N * width) -> (B, rows * columns, N, width)``."""
        return x.flatten(1, 2).unflatten(2, (self.num_heads, -1))

    def extra_repr(self) -> str:
        return f"reduction={self.reduction}, thin={self.thin}, num_heads={self.num_heads}"
