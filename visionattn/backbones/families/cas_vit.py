"""CAS-ViT's local branch, and its classifier with a second row of logits.

Zhang et al. 2024, *CAS-ViT: Convolutional Additive Self-attention Vision Transformers for Efficient Mobile
Applications*, arXiv 2408.03703.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from typing import Any

from timm.layers import ClassifierHead
from torch import Tensor, nn

from visionattn.kernels.linear import Linear


class LocalIntegration(nn.Module):
    """``x`` plus a pointwise layer, batch norm, a depthwise 3x3 convolution, GELU, a pointwise layer.

    Args:
        dim: channels C.
        drop_path: ignored; as published this branch is never left out.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, dim: int, *, drop_path: float = 0.0):
        super().__init__()
        self.mix, self.norm = Linear(dim, dim), nn.BatchNorm2d(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.act, self.proj = nn.GELU(), Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        local = self.conv(self.norm(self.mix(x).permute(0, 3, 1, 2)))
        return x + self.proj(self.act(local.permute(0, 2, 3, 1)))


class DistilledHead(ClassifierHead):
    """Pooling, then the mean of two linear classifiers, of which one was taught by another model.

    The published evaluation takes this mean. Training with a teacher would read the two apart (Touvron et al. 2020,
    arXiv 2012.12877); the published training code has no teacher and one classifier. Here the mean is trained.

    Args:
        dim: channels C of the last map.
        num_classes: width of the classifiers; 0: none.
        pool_type: timm's name of the pooling.
        drop_rate: dropout before the classifiers.

    Shape:
        ``(B, C, H, W) -> (B, num_classes)``
    """

    def __init__(self, dim: int, num_classes: int, *, pool_type: str = "avg", drop_rate: float = 0.0):
        super().__init__(dim, num_classes, pool_type=pool_type, drop_rate=drop_rate)
        self.fc_distilled = _like(self.fc)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = super().forward(x, pre_logits=True)
        return x if pre_logits else (self.fc(x) + self.fc_distilled(x)) / 2

    def reset(self, num_classes: int, pool_type: str | None = None, *args: Any, **kwargs: Any) -> None:
        """As timm's, for both classifiers."""
        super().reset(num_classes, pool_type, *args, **kwargs)
        self.fc_distilled = _like(self.fc)


def _like(layer: nn.Module) -> nn.Module:
    """A fresh linear layer of the same shape; nothing where there is no classifier."""
    if not isinstance(layer, nn.Linear):
        return nn.Identity()
    weight = layer.weight
    return nn.Linear(layer.in_features, layer.out_features, device=weight.device, dtype=weight.dtype)
