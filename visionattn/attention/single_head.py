"""Single-head attention on a part of the channels.

Shapes: B batch, H W map, C channels, P channels that attend, D width of queries and keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.conv_norm import ConvBatchNorm
from visionattn.attention.mixer import StageContext
from visionattn.kernels import window_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class SingleHeadAttention(nn.Module):
    """Attention of one head over the whole map, for the first channels alone; the others pass by.

    Yun and Ro 2024, *SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design*, arXiv 2401.16456.

    The first P channels are normalized as one group, projected to thin queries and keys and to values of P channels;
    all channels then go through a ReLU and a projection with batch norm. It norms its own input and has no position
    bias: where a token is, convolutions around it have to tell. Cost per query: ``(D + P) * H * W`` multiply-adds.

    Args:
        dim: channels C.
        num_heads: ignored; there is one head.
        index: ignored; all blocks are alike.
        partial: channels P that attend; None: three fourteenths of C, rounded down, which are the widths of every
            published stage.
        qk_dim: width D of queries and keys.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``partial`` is not between 1 and ``dim``, or ``qk_dim`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 1,
        index: int = 0,
        *,
        partial: int | None = None,
        qk_dim: int = 16,
        backend: str = "auto",
    ):
        super().__init__()
        partial = max(3 * dim // 14, 1) if partial is None else partial
        if not 1 <= partial <= dim or qk_dim < 1:
            raise ValueError(
                f"partial is from 1 to dim {dim} and qk_dim is positive, got partial {partial} and qk_dim {qk_dim}"
            )
        self.partial, self.qk_dim, self.backend = partial, qk_dim, backend
        self.norm = nn.GroupNorm(1, partial)
        self.qkv = ConvBatchNorm(partial, 2 * qk_dim + partial)
        self.proj = ConvBatchNorm(dim, dim, zero=True)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        first = x.permute(0, 3, 1, 2)  # joined along this axis, maps keep the layout that the convolutions around have
        attending = self.norm(first[:, : self.partial]).permute(0, 2, 3, 1)
        q, k, v = self.qkv(attending).unsqueeze(3).split([self.qk_dim, self.qk_dim, self.partial], dim=-1)
        attending = window_attention(q, k, v, window=(x.shape[1], x.shape[2]), backend=self.backend).squeeze(3)
        joined = torch.cat([attending.permute(0, 3, 1, 2), first[:, self.partial :]], dim=1)
        return self.proj(F.relu(joined).permute(0, 2, 3, 1))

    def extra_repr(self) -> str:
        return f"partial={self.partial}, qk_dim={self.qk_dim}"
