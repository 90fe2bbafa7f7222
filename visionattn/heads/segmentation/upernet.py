"""UPerNet, and the plain convolutional head that helps to train it.

Shapes: B batch, C channels, H W map, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.heads.features import FeatureInfo
from visionattn.heads.segmentation.layers import Classify, ConvNormAct, refuse_single_image, resize

if TYPE_CHECKING:
    from jaxtyping import Float


class PyramidPooling(nn.Module):
    """The map beside its averages over grids of 1x1, 2x2, 3x3 and 6x6 cells.

    Zhao et al. 2016, *Pyramid Scene Parsing Network*, arXiv 1612.01105.

    Args:
        dim_in: channels of the map.
        dim: channels of each average and of the result.
        pool_sizes: edges of the grids.

    Raises:
        ConfigError: in training, a grid of one cell and a batch of one image: batch norm has one value to normalize.

    Shape:
        ``(B, dim_in, H, W) -> (B, dim, H, W)``
    """

    def __init__(self, dim_in: int, dim: int, pool_sizes: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), ConvNormAct(dim_in, dim)) for size in pool_sizes
        )
        self.fuse = ConvNormAct(dim_in + len(pool_sizes) * dim, dim, 3)
        self.smallest = min(pool_sizes)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        if self.smallest == 1:
            refuse_single_image(self, "UPerNet", x.shape[0])
        return self.fuse(torch.cat([x, *(resize(pool(x), x.shape[-2:]) for pool in self.pools)], dim=1))


class UPerNet(nn.Module):
    """Pyramid pooling on the last map, and a feature pyramid whose levels are fused at the stride of the first.

    Xiao et al. 2018, *Unified Perceptual Parsing for Scene Understanding*, arXiv 1807.10221.

    As the backbone papers use it (512 channels, batch norm, no bias before it). With four maps of 96, 192, 384 and 768
    channels and 150 classes it has 31,497,366 parameters.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K.
        channels: width of the pyramid.
        pool_sizes: grids of the pyramid pooling.
        drop_rate: dropout before the classes.

    Shape:
        list of ``(B, C, H, W)`` -> ``(B, K, H, W)`` of the first map
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        channels: int = 512,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        drop_rate: float = 0.1,
    ):
        super().__init__()
        dims = [info["num_chs"] for info in feature_info]
        self.pooling = PyramidPooling(dims[-1], channels, pool_sizes)
        self.lateral = nn.ModuleList(ConvNormAct(dim, channels) for dim in dims[:-1])
        self.smooth = nn.ModuleList(ConvNormAct(channels, channels, 3) for _ in dims[:-1])
        self.fuse = ConvNormAct(len(dims) * channels, channels, 3)
        self.classify = Classify(channels, num_classes, drop_rate)

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K H W"]:
        top = self.pooling(features[-1])
        size = features[0].shape[-2:]
        levels = [resize(top, size)]
        for i in reversed(range(len(self.lateral))):
            top = self.lateral[i](features[i]) + resize(top, features[i].shape[-2:])
            levels.insert(0, resize(self.smooth[i](top), size))
        return self.classify(self.fuse(torch.cat(levels, dim=1)))


class FullyConvolutional(nn.Module):
    """Long et al. 2014, *Fully Convolutional Networks*, arXiv 1411.4038: one convolution on one map, then the classes.

    Beside UPerNet it is the auxiliary head of the backbone papers: on the last map but one, 256 channels.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K.
        level: which map.
        channels: width of the convolution.
        drop_rate: dropout before the classes.

    Shape:
        list of ``(B, C, H, W)`` -> ``(B, K, H, W)`` of that map
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        level: int = -2,
        channels: int = 256,
        drop_rate: float = 0.1,
    ):
        super().__init__()
        self.level = level
        self.conv = ConvNormAct(feature_info[level]["num_chs"], channels, 3)
        self.classify = Classify(channels, num_classes, drop_rate)

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K H W"]:
        return self.classify(self.conv(features[self.level]))
