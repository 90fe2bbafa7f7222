"""SegMAN's decoder.

Shapes: B batch, C channels, H W map, F channels of each projected map, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.heads.features import FeatureInfo
from visionattn.heads.segmentation.layers import Classify, ConvNormAct, refuse_single_image, resize
from visionattn.kernels.geometry import rounded_up

if TYPE_CHECKING:
    from jaxtyping import Float

_COARSEST = 4


class SegMANDecoder(nn.Module):
    """Context of one map at three scales, mixed at once (MMSCopE), and added to the maps that it came from.

    Fu et al. 2024, *SegMAN: Omni-scale Context Modeling with State Space Models and Local Attention for Semantic
    Segmentation*, arXiv 2412.11890.

    The last three maps are projected to F channels and fused to C at the stride of the first of them, 8 in published
    models. This map, one of half and one of a quarter of its size are brought to a quarter of its size, the finer ones
    by moving neighbors into channels, so that no pixel is lost. One block mixes the three side by side, as published by
    a selective scan. What it gives goes to each projected map and, with a global mean, into the last fusion. With
    maps of 32, 64, 144 and 192 channels, 128 channels, a width of 192 and 150 classes: 4,115,926 parameters.

    The published code needs images whose sides are multiples of 32. Here a map whose sides 4 does not divide is
    enlarged bilinearly to such a size before the three scales.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K.
        block: called as ``block(dim, mixer)`` for the block of ``3 * channels``.
        mixer: called as ``mixer(dim=, num_heads=, index=)`` for what it mixes with.
        channels: C.
        width: F.
        num_heads: heads of a mixer that has some; a selective scan has none.
        drop_rate: dropout before the classes.

    Raises:
        ConfigError: in training, a batch of one image: batch norm has one value of the global mean to normalize.

    Shape:
        list of ``(B, C, H, W)`` -> ``(B, K, H, W)`` of the last map but two
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        block: Callable[..., nn.Module],
        mixer: Callable[..., nn.Module],
        channels: int = 128,
        width: int = 192,
        num_heads: int = 4,
        drop_rate: float = 0.1,
    ):
        super().__init__()
        used = feature_info[-3:]
        self.unused_maps = len(feature_info) - len(used)
        self.project = nn.ModuleList(nn.Conv2d(info["num_chs"], width, 1) for info in used)
        self.fuse = ConvNormAct(len(used) * width, channels)
        self.down2 = ConvNormAct(channels, 2 * channels, 3, stride=2)
        self.down4 = ConvNormAct(channels, 4 * channels, 5, stride=4, padding=1)
        self.reduce = nn.ModuleList(ConvNormAct(times * channels, channels) for times in (4, 8, 16))
        self.block = block(3 * channels, mixer(dim=3 * channels, num_heads=num_heads, index=0))
        self.local, self.pooled = ConvNormAct(channels, channels), ConvNormAct(channels, channels)
        self.back = ConvNormAct(3 * channels, width)
        self.join = ConvNormAct(5 * channels + len(used) * width, channels)
        self.classify = Classify(channels, num_classes, drop_rate)

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K H W"]:
        refuse_single_image(self, "SegMAN's decoder", features[-1].shape[0])
        used = features[-len(self.project) :]
        size = used[0].shape[-2:]
        maps = [resize(layer(x), size) for layer, x in zip(self.project, used, strict=True)]
        x = self.fuse(torch.cat(maps[::-1], dim=1))
        pooled = self.pooled(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *size)
        context = resize(self._context(x), size)
        back = self.back(context)
        return self.classify(self.join(torch.cat([self.local(x), pooled, context, *(one + back for one in maps)], 1)))

    def _context(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The mixed scales, at a quarter of the size, rounded up; D is 3 C."""
        x = resize(x, [rounded_up(side, _COARSEST) * _COARSEST for side in x.shape[-2:]])
        scales = self.down4(x), F.pixel_unshuffle(self.down2(x), 2), F.pixel_unshuffle(x, 4)
        reduced = [layer(one) for layer, one in zip(self.reduce, scales, strict=True)]
        stacked = torch.cat(reduced[::-1], dim=1)
        return self.block(stacked.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
