"""Channel attention: the channels of a group attend to each other, over the whole map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from visionattn.attention.qkv import QKVAttention
from visionattn.kernels.recording import RecordedChannels, report

if TYPE_CHECKING:
    from jaxtyping import Float


class ChannelAttention(QKVAttention):
    """Ding et al. 2022, *DaViT: Dual Attention Vision Transformers*, arXiv 2204.03645.

    The D channels of a head are the tokens here and the K = H W positions are their features, so a token sees the
    whole image and the cost is linear in its size: with k and v as ``(K, D)`` matrices, ``softmax(k^T v / sqrt(D))`` is
    a ``(D, D)`` matrix per image and head, and it is applied to the channels of q. As in the published code it is q
    that is carried through and the affinity is that of k and v; weights trained with the roles of the letters exchanged
    do not fit. Cost per position: ``2 * D * D`` multiply-adds and head.

    Args:
        dim: channels C.
        num_heads: groups of channels N.
        index: ignored; all blocks are alike.
        qkv_bias: bias in the q, k, v projection.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int, num_heads: int, index: int = 0, *, qkv_bias: bool = True):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        q, k, v = qkv.unbind(3)
        b, h, w, n, d = q.shape
        q, k, v = (x.reshape(b, h * w, n, d).transpose(1, 2) for x in (q, k, v))
        affinity = ((k * d**-0.5).transpose(-2, -1) @ v).softmax(dim=-1)
        out = (q @ affinity.transpose(-2, -1)).transpose(1, 2).reshape(b, h, w, n, d)
        report(lambda: RecordedChannels(affinity, out))
        return out
