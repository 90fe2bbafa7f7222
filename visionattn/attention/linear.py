"""Linear attention: keys and values are summed into one small matrix, which every query then reads.

    query . key * value, summed over keys            O(T * T * D)
    query . (key (x) value, summed over keys)        O(T * D * E)

The core is :func:`linear_attention`; what normalizes its result is data, :class:`Factors`. Sums over a map are of
float32: in half precision they overflow at a few thousand tokens.

Shapes: B batch, H W map, C channels, T tokens, N heads, D width of queries and keys, E width of values.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.qkv import QKVAttention
from visionattn.kernels.eager import autocast_disabled

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Factors:
    """What normalizes linear attention.

    Attributes:
        keys: a factor on each value; None: 1.
        queries: a factor on each result; None: 1.
        mean: how much of the mean of all values is subtracted from each result; None: nothing.
    """

    keys: Float[Tensor, "B T N 1"] | None = None
    queries: Float[Tensor, "B T N 1"] | None = None
    mean: Float[Tensor, "B T N 1"] | None = None


def linear_attention(
    q: Float[Tensor, "B T N D"], k: Float[Tensor, "B T N D"], v: Float[Tensor, "B T N E"], factors: Factors
) -> Float[Tensor, "B T N E"]:
    """``factors.queries * q (k^T (factors.keys * v)) - factors.mean * mean(v)``, for each head.

    Katharopoulos et al. 2020, *Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention*, arXiv
    2006.16236. Nothing of T times T is ever in memory. Cost per query: ``2 * D * E`` multiply-adds and head.

    Args:
        q: queries, through their feature map.
        k: keys, through theirs.
        v: values.
        factors: what normalizes the result.
    """
    out = read(q, state_of(k, v if factors.keys is None else v * factors.keys))
    if factors.queries is not None:
        out = out * factors.queries
    return out if factors.mean is None else out - factors.mean * v.mean(1, keepdim=True)


def state_of(k: Float[Tensor, "... T N D"], v: Float[Tensor, "... T N E"]) -> Float[Tensor, "... N D E"]:
    """The sum of keys times values over all tokens."""
    return k.movedim(-3, -1) @ v.transpose(-3, -2)


def read(q: Float[Tensor, "... T N D"], state: Float[Tensor, "... N D E"]) -> Float[Tensor, "... T N E"]:
    """What each query reads from the state of its head."""
    return (q.transpose(-3, -2) @ state).transpose(-3, -2)


def inner_sum(a: Float[Tensor, "... T N D"], b: Float[Tensor, "... 1 N D"]) -> Float[Tensor, "... T N 1"]:
    """The inner product of each token with the one vector of its head."""
    return (a * b).sum(-1, keepdim=True)


def at_least_float32(x: Tensor) -> Tensor:
    """The same in the precision of sums over a map: float32, or float64 where it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class FeatureAttention(QKVAttention):
    """Base of linear attention whose queries and keys go through feature maps, in float32 with autocast off."""

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        with autocast_disabled(qkv.device):
            out = self.of_tokens(*at_least_float32(qkv).flatten(1, 2).unbind(2)).to(qkv.dtype)
        return out.view(*qkv.shape[:3], *qkv.shape[4:])

    @abstractmethod
    def of_tokens(
        self, q: Float[Tensor, "B T N D"], k: Float[Tensor, "B T N D"], v: Float[Tensor, "B T N D"]
    ) -> Float[Tensor, "B T N D"]:
        """Attention of projected tokens, at least float32."""


class LinearAttention(FeatureAttention):
    """Linear attention with ReLU, a learned temperature and a clamped denominator.

    Zheng 2025, *The Linear Attention Resurrection in Vision Transformer*, arXiv 2501.16182.

    A query's weight for a key is ``relu(q) . relu(k)``, divided by the sum of its weights but by no less than
    ``smallest``, and multiplied with the head's temperature. On small maps, or where few channels are positive, rows
    therefore sum to less than the temperature; the paper finds that this steadies training. Cost per query:
    ``2 * D**2`` multiply-adds and head, whatever the size of the map.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        smallest: the least denominator.
        qkv_bias: bias in the q, k, v projection.

    Raises:
        ValueError: ``smallest`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int, num_heads: int, index: int = 0, *, smallest: float = 100.0, qkv_bias: bool = True):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        if not smallest > 0:
            raise ValueError(f"the least denominator of linear attention must be positive, got smallest {smallest}")
        self.smallest = smallest
        self.temperature = nn.Parameter(torch.full((num_heads, 1), (dim // num_heads) ** -0.5))

    def of_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = F.relu(q), F.relu(k)
        total = inner_sum(q, k.sum(1, keepdim=True)).clamp(min=self.smallest)
        return linear_attention(q, k, v, Factors(queries=self.temperature / total))

    def extra_repr(self) -> str:
        return f"smallest={self.smallest}, num_heads={self.num_heads}"


class FlowAttention(FeatureAttention):
    """Flow-Attention: what flows from all keys to all queries is conserved.

    Wu et al. 2022, *Flowformer: Linearizing Transformers with Conservation Flows*, arXiv 2202.06258.

    With ``phi = sigmoid``, the capacity between a query and a key is ``phi(q) . phi(k)``. Each query lets in one unit
    in all and each key gives out one. What then reaches a key as a source decides, by softmax over the map, how its
    value competes; what then reaches a query decides, by a sigmoid, how much of the result it is allocated. There is
    no factor for the width of heads. As in the published code, 1e-6 is added to both sides of each sum and to the sum,
    and competing sources are clamped to [-1, 1]. Cost per query: ``2 * D**2`` multiply-adds and head.

    Args:
        dim: channels C.
        num_heads: heads N; the published backbone has 12 in every stage.
        index: ignored; all blocks are alike.
        qkv_bias: bias in the q, k, v projection.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int, num_heads: int, index: int = 0, *, qkv_bias: bool = True):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)

    def of_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = q.sigmoid(), k.sigmoid()
        incoming, outgoing = 1 / _flow(q, k), 1 / _flow(k, q)
        sink, source = _flow(q, k * outgoing), _flow(k, q * incoming).clamp(-1, 1)
        competition = source.softmax(1) * source.shape[1]
        return linear_attention(q, k, v, Factors(keys=competition, queries=incoming * sink.sigmoid()))


def _flow(ends: Tensor, others: Tensor) -> Tensor:
    """What each end exchanges with all others."""
    return inner_sum(ends + 1e-6, others.sum(1, keepdim=True) + 1e-6) + 1e-6
