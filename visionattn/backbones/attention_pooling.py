"""Classifiers that pool by attention: learned queries look for what they need on the last map.

Shapes: B batch, H W map, C channels, T tokens, K classes, M queries, V channels of the values, N heads.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from timm.layers import LayerScale
from torch import Tensor, nn

from visionattn.backbones.feed_forward import FeedForward
from visionattn.kernels.linear import Linear
from visionattn.kernels.norm import LayerNorm


class AttentivePool(nn.Module):
    """Base of what pools the tokens of a map: a module ``(B, T, C) -> (B, width)``.

    Attributes:
        width: channels that come out.
    """

    width: int


class EfficientProbe(AttentivePool):
    """Learned queries meet the tokens themselves, without projection of queries or keys; a batch norm ends it.

    Args:
        dim: channels C.
        num_queries: queries M.
        width: channels V of the values; a multiple of ``num_queries``.

    Shape:
        ``(B, T, C) -> (B, V)``
    """

    no_weight_decay_parameters = ("queries",)

    def __init__(self, dim: int, num_queries: int, width: int):
        super().__init__()
        if num_queries < 1 or width < 1 or width % num_queries:
            raise ValueError(
                f"each query pools its own channels, so the {width} channels of the values must be a positive multiple "
                f"of num_queries {num_queries}"
            )
        self.width, self.scale = width, dim**-0.5
        self.queries = nn.Parameter(0.02 * torch.randn(num_queries, dim))
        self.values = Linear(dim, width, bias=False)
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        weights = (x @ (self.scale * self.queries).T).softmax(1)
        parts = self.values(x).unflatten(2, (self.queries.shape[0], -1))
        return self.norm((weights.unsqueeze(-1) * parts).sum(1).flatten(1))


class Aggregation(AttentivePool):
    """A transformer block that updates nothing but its queries, and a norm.

    Args:
        dim: channels C.
        num_queries: queries M; one of them is among its own keys, several see the map alone.
        num_heads: heads N.
        mlp_ratio: width of the feed-forward network in multiples of C.
        layer_scale: initial factor of both branches.

    Shape:
        ``(B, T, C) -> (B, C)``, or ``(B, M, C)`` of several queries.
    """

    no_weight_decay_parameters = ("queries",)

    def __init__(self, dim: int, num_queries: int, num_heads: int, mlp_ratio: float, layer_scale: float):
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
        self.width, self.num_heads = dim, num_heads
        self.queries = nn.Parameter(torch.empty(num_queries, dim))
        nn.init.trunc_normal_(self.queries, std=0.02)
        self.norm1, self.norm2, self.norm = (LayerNorm(dim, eps=1e-6) for _ in range(3))
        self.q, self.k, self.v, self.proj = (Linear(dim, dim) for _ in range(4))
        self.scale1, self.scale2 = (LayerScale(dim, init_values=layer_scale) for _ in range(2))
        self.ffn = FeedForward(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries.expand(x.shape[0], -1, -1)
        asking, tokens = self.norm1(queries), self.norm1(x)
        if len(self.queries) == 1:
            tokens = torch.cat([asking, tokens], dim=1)
        queries = queries + self.scale1(self._attend(asking, tokens))
        queries = self.norm(queries + self.scale2(self.ffn(self.norm2(queries))))
        return queries[:, 0] if len(self.queries) == 1 else queries

    def _attend(self, asking: Tensor, tokens: Tensor) -> Tensor:
        q, k, v = (
            layer(part).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer, part in ((self.q, asking), (self.k, tokens), (self.v, tokens))
        )
        weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class AttentiveHead(nn.Module):
    """Base of classifiers of the last map: attention in place of pooling, then a linear layer.

    It has what a backbone asks of a classifier: ``fc`` and timm's ``reset``. Without classes the pooled features come
    out; with ``pool_type`` "" as well, nothing is left and the map comes out as it is.
    """

    pools_per_class = False
    """Whether the pool depends on the number of classes."""

    def __init__(self, dim: int, drop_rate: float):
        super().__init__()
        self.in_features, self.pool_type, self.drop = dim, "avg", nn.Dropout(drop_rate)
        self.pool: nn.Module = nn.Identity()
        self.fc: nn.Module = nn.Identity()

    @abstractmethod
    def build_pool(self, dim: int, num_classes: int) -> AttentivePool:
        """A fresh pool for a map of ``dim`` channels."""

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if isinstance(self.pool, AttentivePool):
            x = self.drop(self.pool(x.flatten(2).mT))
        return x if pre_logits else self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """The linear layer."""
        return self.fc(x)

    def reset(
        self, num_classes: int, pool_type: str | None = None, reset_other: bool = False, in_features: int | None = None
    ) -> None:
        """As timm's: a fresh linear layer; another width of the features gives a fresh pool as well."""
        like = next(self.parameters(), None)
        place: Any = {} if like is None else {"device": like.device, "dtype": like.dtype}
        dim = self.in_features if in_features is None else in_features
        self.pool_type = self.pool_type if pool_type is None else pool_type
        fresh = reset_other or dim != self.in_features or self.pools_per_class
        if num_classes == 0 and not self.pool_type:
            self.pool = nn.Identity()
        elif fresh or not isinstance(self.pool, AttentivePool):
            self.pool = self.build_pool(dim, num_classes).to(**place).train(self.training)
        self.in_features = dim
        width: Any = getattr(self.pool, "width", dim)
        self.num_features = width
        self.fc = nn.Linear(width, num_classes, **place) if num_classes else nn.Identity()


class EfficientProbingHead(AttentiveHead):
    """Efficient probing: M learned queries, each of which pools its own share of the channels.

    Psomas et al. 2025, *Attention, Please! Revisiting Attentive Probing Through the Lens of Efficiency*, arXiv
    2506.10178.

    The logits of a query for a token are their inner product times ``C**-0.5``: neither has a projection. A linear
    layer makes the values, whose channels fall into M groups; group m is pooled with the weights of query m. A batch
    norm without weights and the linear classifier follow. Made for frozen backbones (``task.freeze=backbone``). It sees
    the map with the backbone's norm; there is no class token here.

    Args:
        dim: channels C of the last map.
        num_classes: width of the classifier; 0: none.
        pool_type: "" with no classes: nothing is left.
        drop_rate: dropout before the classifier.
        num_queries: queries M.
        reduction: the values have ``C / reduction`` channels, rounded down.

    Raises:
        ValueError: channels of the values that the queries do not divide.

    Shape:
        ``(B, C, H, W) -> (B, num_classes)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        pool_type: str = "avg",
        drop_rate: float = 0.0,
        num_queries: int = 32,
        reduction: int = 1,
    ):
        super().__init__(dim, drop_rate)
        self.num_queries, self.reduction = num_queries, reduction
        self.reset(num_classes, pool_type)

    def build_pool(self, dim: int, num_classes: int) -> AttentivePool:
        return EfficientProbe(dim, self.num_queries, dim // self.reduction)


class AggregationHead(AttentiveHead):
    """Attention-based aggregation: one block in which a learned query looks at the map once.

    Touvron et al. 2021, *Augmenting Convolutional networks with attention-based aggregation*, arXiv 2112.13692.

    The query attends to itself and the tokens, with one head; a feed-forward network and a norm follow. Its weights
    over the map are a picture of what the classifier looks at. With ``per_class`` every class has a query and a row of
    the linear layer of its own, and queries see the map alone, as in the published multi-class version. The published
    network has no norm before this block; other backbones keep theirs.

    Args:
        dim: channels C of the last map.
        num_classes: classes K; 0: no linear layer, and one query.
        pool_type: "" with no classes: nothing is left.
        drop_rate: dropout before the classifier.
        num_heads: heads N.
        mlp_ratio: width of the feed-forward network in multiples of C.
        layer_scale: initial factor of both branches; published: 1e-4 for 60 layers, 1e-6 for more.
        per_class: a query for each class.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.

    Shape:
        ``(B, C, H, W) -> (B, num_classes)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        pool_type: str = "avg",
        drop_rate: float = 0.0,
        num_heads: int = 1,
        mlp_ratio: float = 3.0,
        layer_scale: float = 1e-4,
        per_class: bool = False,
    ):
        super().__init__(dim, drop_rate)
        self.num_heads, self.mlp_ratio, self.layer_scale = num_heads, mlp_ratio, layer_scale
        self.pools_per_class = per_class
        self.reset(num_classes, pool_type)

    def build_pool(self, dim: int, num_classes: int) -> AttentivePool:
        queries = max(num_classes, 1) if self.pools_per_class else 1
        return Aggregation(dim, queries, self.num_heads, self.mlp_ratio, self.layer_scale)

    def logits(self, x: Tensor) -> Tensor:
        if x.ndim == 3 and isinstance(self.fc, nn.Linear):
            return (x * self.fc.weight).sum(-1) + self.fc.bias
        return self.fc(x)
