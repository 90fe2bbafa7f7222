"""Bi-level routing attention: regions of the map find the regions that suit them, and attend to their tokens.

Shapes: B batch, H W map, C channels, N heads, D head width, R regions, K listed regions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit, round_up
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import routed_attention
from visionattn.kernels.eager import autocast_disabled

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class BiLevelRoutingAttention(QKVAttention):
    """Attention of each region of the map to the ``topk`` regions whose mean keys suit its mean query best (BRA).

    Zhu et al. 2023, *BiFormer: Vision Transformer with Bi-Level Routing Attention*, arXiv 2303.08810.

    The map lies in ``regions`` by ``regions`` regions, which grow with it. Means of queries and of keys over a region
    are compared in all channels at once, so that all heads of a region see the same regions. Which regions are chosen
    has no gradient. Cost: ``2 * D * topk * H * W / regions**2`` multiply-adds per query and head, and ``R**2 * C`` for
    the choice.

    As published, logits are scaled by ``C ** -0.5`` and not by the width of a head, and a map that ``regions`` does not
    divide gets zeros at the bottom and the right before the projection (``auto_pad`` in the published code, which
    refuses such maps without it): tokens of zeros count in the means and are attended to. The published code holds a
    copy of keys and values for each list that names them; here they are read in place.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        regions: regions along each side of the map.
        topk: regions that a region attends to.
        lepe: side of the kernel of a locally-enhanced position encoding; None: no encoding.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or ``topk`` is not between 1 and the number of regions.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        regions: int = 7,
        topk: int = 4,
        lepe: int | None = 5,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=lepe)
        if regions < 1 or not 1 <= topk <= regions**2:
            raise ValueError(
                f"topk lies between 1 and the number of regions, got {topk} and {regions} x {regions} regions"
            )
        self.regions, self.topk, self.backend = regions, topk, backend
        self.without_softmax = True  # that a backend could clip

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        height, width = x.shape[1:3]
        whole = fit(x, (round_up(height, self.regions), round_up(width, self.regions)))
        return fit(super().forward(whole, context), (height, width))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        q, k, _ = qkv.unbind(3)
        region = (q.shape[1] // self.regions, q.shape[2] // self.regions)
        scale = (q.shape[3] * q.shape[4]) ** -0.5
        return routed_attention.packed(qkv, self.routes(q, k), region=region, scale=scale, backend=self.backend)

    @torch.no_grad()
    def routes(self, q: Float[Tensor, "B H W N D"], k: Float[Tensor, "B H W N D"]) -> Int[Tensor, "B R K"]:
        """Of each region the numbers of those it attends to."""
        with autocast_disabled(q.device):
            of_queries, of_keys = (self._means(x) for x in (q, k))
            return torch.topk(of_queries @ of_keys.mT, self.topk).indices

    def _means(self, x: Tensor) -> Tensor:
        """Means over regions, in at least float32, ``(B, R, C)``."""
        side = self.regions
        cells = x.flatten(3).unflatten(2, (side, -1)).unflatten(1, (side, -1))
        kind = torch.float64 if x.dtype == torch.float64 else torch.float32
        return cells.mean((2, 4), dtype=kind).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"regions={self.regions}, topk={self.topk}, num_heads={self.num_heads}"
