"""Semantic FPN.

Shapes: B batch, C channels, H W map, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.heads.features import FeatureInfo
from visionattn.heads.segmentation.layers import Classify, ConvNormAct, resize

if TYPE_CHECKING:
    from jaxtyping import Float


class SemanticFPN(nn.Module):
    """A feature pyramid whose levels are enlarged to the stride of the first and summed.

    Kirillov et al. 2019, *Panoptic Feature Pyramid Networks*, arXiv 1901.02446. Each level of the pyramid (Lin et al.
    2016, arXiv 1612.03144) is enlarged by convolutions and doublings.

    As in the set-ups of PVT and its successors: 256 channels in the pyramid, 128 in the branches, batch norm where the
    paper has group norm. On a ResNet-50 with 150 classes: 4,987,542 parameters, 28.5 M together.

    Args:
        feature_info: what the backbone says of its maps; their strides must be powers of two times the first one's.
        num_classes: classes K.
        channels: width of the pyramid.
        branch_channels: width of the branches.
        drop_rate: dropout before the classes.

    Raises:
        ValueError: a stride that doublings do not reach.

    Shape:
        list of ``(B, C, H, W)`` -> ``(B, K, H, W)`` of the first map
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        channels: int = 256,
        branch_channels: int = 128,
        drop_rate: float = 0.1,
    ):
        super().__init__()
        lateral = [nn.Conv2d(info["num_chs"], channels, 1) for info in feature_info]
        smooth = [nn.Conv2d(channels, channels, 3, padding=1) for _ in feature_info]
        for conv in (*lateral, *smooth):
            nn.init.xavier_uniform_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        self.lateral, self.smooth = nn.ModuleList(lateral), nn.ModuleList(smooth)
        self.branches = nn.ModuleList(
            _Branch(channels, branch_channels, doublings) for doublings in _doublings(feature_info)
        )
        self.classify = Classify(branch_channels, num_classes, drop_rate)

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K H W"]:
        levels = [conv(x) for conv, x in zip(self.lateral, features, strict=True)]
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[-2:])
        size = features[0].shape[-2:]
        parts = [
            resize(branch(conv(x)), size) for branch, conv, x in zip(self.branches, self.smooth, levels, strict=True)
        ]
        return self.classify(sum(parts[1:], start=parts[0]))


class _Branch(nn.Module):
    """A convolution per doubling, at least one."""

    def __init__(self, dim_in: int, dim: int, doublings: int):
        super().__init__()
        self.doublings = doublings
        self.convs = nn.ModuleList(ConvNormAct(dim if i else dim_in, dim, 3) for i in range(max(doublings, 1)))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x)
            if self.doublings:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        return x


def _doublings(feature_info: FeatureInfo) -> list[int]:
    first = feature_info[0]["reduction"]
    counts = [math.log2(info["reduction"] / first) for info in feature_info]
    for count, info in zip(counts, feature_info, strict=True):
        if count < 0 or count != int(count):
            raise ValueError(
                f"Semantic FPN doubles maps up to stride {first}; {info.get('module')} has stride {info['reduction']}"
            )
    return [int(count) for count in counts]
