"""Classifiers of backbones that norm after pooling or project before it. The others use timm's ``ClassifierHead``.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.layers import LayerNorm2d, NormMlpClassifierHead, create_classifier
from torch import Tensor, nn

from visionattn.kernels.linear import Linear

_LAYER_NORM = partial(LayerNorm2d, eps=1e-5)


class PoolNormHead(NormMlpClassifierHead):
    """Pooling, a norm, optionally a hidden layer as wide as the features with tanh, then the linear classifier.

    timm's module, built from the width alone and resettable to the narrower map of a pruned backbone.

    Args:
        dim: channels C of the last map.
        num_classes: width of the classifier; 0: none.
        pool_type: timm's name of the pooling.
        drop_rate: dropout before the classifier.
        hidden: a layer of C units with tanh before the classifier (MaxViT).
        norm: norm factory, called with ``dim``, for pooled maps ``(B, C, 1, 1)``.

    Shape:
        ``(B, C, H, W) -> (B, num_classes)``
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        pool_type: str = "avg",
        drop_rate: float = 0.0,
        hidden: bool = False,
        norm: Callable[[int], nn.Module] = _LAYER_NORM,
    ):
        hidden_size = dim if hidden else None
        super().__init__(
            dim, num_classes, hidden_size=hidden_size, pool_type=pool_type, drop_rate=drop_rate, norm_layer=norm
        )

    def reset(
        self,
        num_classes: int,
        pool_type: str | None = None,
        reset_other: bool = False,
        in_features: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """As timm's; another width of the features removes norm and hidden layer, which were made for the old one."""
        changed = in_features is not None and in_features != self.in_features
        super().reset(num_classes, pool_type, reset_other or changed, in_features, device=device, dtype=dtype)


class ProjectionHead(nn.Module):
    """A linear layer on every token, a batch norm, SiLU, pooling, then the linear classifier.

    Tan and Le 2019, *EfficientNet*, arXiv 1905.11946, ends like this; so do RMT and its relatives.

    Args:
        dim: channels C of the last map.
        num_classes: width of the classifier; 0: none.
        pool_type: timm's name of the pooling; "" with no classes: nothing is left, and the map comes out as it is.
        drop_rate: dropout before the classifier.
        width: channels after the projection.

    Shape:
        ``(B, C, H, W) -> (B, num_classes)``
    """

    def __init__(
        self, dim: int, num_classes: int, *, pool_type: str = "avg", drop_rate: float = 0.0, width: int = 1024
    ):
        super().__init__()
        self.in_features, self.width, self.drop = dim, width, nn.Dropout(drop_rate)
        self.proj: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()
        self.act: nn.Module = nn.Identity()
        self.global_pool: Any = nn.Identity()
        self.reset(num_classes, pool_type)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if isinstance(self.proj, nn.Linear):
            x = self.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.drop(self.global_pool(self.act(self.norm(x))))
        return x if pre_logits else self.fc(x)

    def reset(self, num_classes: int, pool_type: str | None = None, in_features: int | None = None) -> None:
        """As timm's: a fresh classifier; another width of the features gives a fresh projection as well."""
        like = next(self.parameters(), None)
        place: Any = {} if like is None else {"device": like.device, "dtype": like.dtype}
        pool_type = self.global_pool.pool_type if pool_type is None else pool_type
        dim = self.in_features if in_features is None else in_features
        if num_classes == 0 and not pool_type:
            self.proj, self.norm, self.act = nn.Identity(), nn.Identity(), nn.Identity()
        elif dim != self.in_features or not isinstance(self.proj, nn.Linear):
            self.proj, self.act = Linear(dim, self.width, **place), nn.SiLU()
            self.norm = nn.BatchNorm2d(self.width, **place).train(self.training)
        self.in_features = dim
        self.global_pool, fc = create_classifier(self.width, num_classes, pool_type)
        self.fc = fc.to(**place) if place else fc
