"""Classifiers of backbones that norm after pooling. The others use timm's ``ClassifierHead``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.layers import LayerNorm2d, NormMlpClassifierHead
from torch import nn

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
