"""SegFormer's decoder.

Shapes: B batch, C channels, H W map, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.heads.features import FeatureInfo
from visionattn.heads.segmentation.layers import Classify, ConvNormAct, resize

if TYPE_CHECKING:
    from jaxtyping import Float


class SegFormerHead(nn.Module):
    """One linear layer for each map, and one that fuses them at the stride of the first.

    Xie et al. 2021, *SegFormer*, arXiv 2105.15203.

    As in the authors' code: linear layers with bias, batch norm and ReLU after the fusion only. (mmsegmentation's port
    has them after every layer.) With four maps of 32, 64, 160 and 256 channels and 150 classes: 433,302 parameters.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K.
        channels: width; 256 in SegFormer-B0 and B1, 768 in the larger ones.
        drop_rate: dropout before the classes.

    Shape:
        list of ``(B, C, H, W)`` -> ``(B, K, H, W)`` of the first map
    """

    def __init__(self, feature_info: FeatureInfo, num_classes: int, *, channels: int = 256, drop_rate: float = 0.1):
        super().__init__()
        self.embed = nn.ModuleList(nn.Conv2d(info["num_chs"], channels, 1) for info in feature_info)
        self.fuse = ConvNormAct(len(feature_info) * channels, channels)
        self.classify = Classify(channels, num_classes, drop_rate)

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K H W"]:
        size = features[0].shape[-2:]
        maps = [resize(embed(x), size) for embed, x in zip(self.embed, features, strict=True)]
        return self.classify(self.fuse(torch.cat(maps[::-1], dim=1)))
