"""Attention inside clusters of similar tokens, wherever on the map they lie.

Shapes: B batch, H W map, C channels, N heads, D head width, K keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from visionattn.attention.qkv import QKVAttention
from visionattn.kernels.clusters import clustered_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class ContentAttention(QKVAttention):
    """Attention of tokens to those that resemble them: the feature-space local attention of BOAT.

    Yu et al. 2022, *BOAT: Bilateral Local Attention Vision Transformer*, arXiv 2201.13027.

    For each image and head, balanced hierarchical clustering of the queries halves the tokens again and again, see
    :mod:`visionattn.kernels.clusters`. A query attends to its own cluster and to ``overlap`` keys of its partner: the
    first of two clusters that come from one halving sees the first keys of the second, the second the last keys of the
    first. A depthwise 3x3 convolution of the values on the map is added. Cost per query: ``2 * D * K`` multiply-adds
    and head for K keys, 69 as published, and for each of the halvings ``6 * D`` of the clustering, which has no
    gradient.

    Any map works. There are as many clusters, a power of two, as leave each of them ``cluster_size`` tokens or more,
    so none is empty; their sizes differ by one token at most, and they are exactly ``cluster_size`` where the published
    code runs. A pair of clusters that is one token shorter than others has the token that comes next in the order as a
    further key. A map of fewer than twice ``cluster_size`` tokens is one cluster and sees no overlap: there
    the published code joins two images of the batch, and stops if there is no second one.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        cluster_size: tokens of a cluster, at least, where the map has so many.
        overlap: keys of the partner that a cluster sees.
        scale: of the logits; None: ``D ** -0.5``. The published code with CSWin as host has 1.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, ``cluster_size`` is not positive, or ``overlap`` is
            negative or exceeds it.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        cluster_size: int = 49,
        overlap: int = 20,
        scale: float | None = None,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=3)
        if cluster_size < 1 or not 0 <= overlap <= cluster_size:
            raise ValueError(
                f"cluster_size is positive and overlap from 0 to cluster_size, got {cluster_size} and {overlap}"
            )
        self.cluster_size, self.overlap, self.scale, self.backend = cluster_size, overlap, scale, backend

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        q, k, v = qkv.flatten(1, 2).unbind(2)
        clusters = {"cluster_size": self.cluster_size, "overlap": self.overlap}
        out = clustered_attention(q, k, v, **clusters, scale=self.scale, backend=self.backend)
        return out.unflatten(1, qkv.shape[1:3])

    def extra_repr(self) -> str:
        return f"cluster_size={self.cluster_size}, overlap={self.overlap}, num_heads={self.num_heads}"
