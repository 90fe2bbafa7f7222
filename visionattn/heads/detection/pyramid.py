"""The feature pyramid between backbone and detector."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from visionattn.heads.detection.finer_pyramid import ON_TOP, FinerPyramidNetwork, block_on_top
from visionattn.heads.features import FeatureInfo, FeatureNorms, check_maps

if TYPE_CHECKING:
    from jaxtyping import Float


class Pyramid(nn.Module):
    """Feature Pyramid Network (Lin et al. 2017, arXiv 1612.03144), torchvision's, on the maps of any backbone.

    Args:
        feature_info: what the backbone says of its maps.
        channels: of every level.
        extra: what comes on top: ``pool`` (one level of half the size, for R-CNN), ``p6p7`` (two convolutions, for
            RetinaNet and FCOS), ``p6p7_input`` (the same from the backbone's coarsest map, as in mmdetection's
            RetinaNet), ``p6_input`` (the first of these alone), ``none``.
        skip: how many of the finest maps are left out; RetinaNet and FCOS leave out the map of stride 4.
        finer: levels below the backbone's finest map, for backbones that begin at a stride of 16: see
            :class:`FinerPyramidNetwork`.
        pooled: how many of the finest levels regions are pooled from; None: all but those on top.
        feature_norms: see :class:`FeatureNorms`.
        relu_on_top: of two convolutions on top, the second takes the first one's result through a ReLU, as in the paper
            and torchvision; mmdetection does without.

    Attributes:
        strides: of the levels.
        num_maps: of the levels that regions are pooled from.

    Raises:
        ValueError: an unknown ``extra``, strides that do not double from stage to stage, naming the stage, or
            ``finer`` or ``pooled`` that the maps do not allow.

    Shape:
        list of ``(B, C, H, W)`` -> ordered mapping "0", "1", ... -> ``(B, channels, H, W)``
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        channels: int = 256,
        *,
        extra: str = "pool",
        skip: int = 0,
        finer: int = 0,
        pooled: int | None = None,
        feature_norms: str = "lower",
        relu_on_top: bool = True,
    ):
        super().__init__()
        if extra not in ON_TOP:
            raise ValueError(f"extra is one of {', '.join(ON_TOP)}, got {extra!r}")
        self.feature_info, self.channels, self.skip = list(feature_info), channels, skip
        used = self.feature_info[skip:]
        if not used:
            raise ValueError(f"the backbone has {len(self.feature_info)} maps, but skip={skip}")
        self.strides = _strides(used, finer, ON_TOP[extra])
        levels = finer + len(used)
        if pooled is not None and not 1 <= pooled <= levels:
            raise ValueError(f"regions are pooled from 1 to {levels} levels, got pooled={pooled}")
        self.num_maps = pooled or levels
        self.norms = FeatureNorms(used, feature_norms)
        widths = [info["num_chs"] for info in used]
        self.fpn = FinerPyramidNetwork(widths, channels, block_on_top(extra, widths[-1], channels, relu_on_top), finer)

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> OrderedDict[str, Float[Tensor, "B C _ _"]]:
        check_maps(features, self.feature_info)
        maps = self.norms(features[self.skip :])
        return self.fpn(OrderedDict((str(i), x) for i, x in enumerate(maps)))


def _strides(used: FeatureInfo, finer: int, on_top: int) -> list[int]:
    for below, info in pairwise(used):
        if info["reduction"] != 2 * below["reduction"]:
            raise ValueError(
                f"a feature pyramid needs strides that double; {info.get('module', 'a map')} has stride "
                f"{info['reduction']} after {below['reduction']}"
            )
    finest = used[0]["reduction"]
    if finer < 0 or (finer and finest % 2**finer):
        raise ValueError(f"the finest map has stride {finest}, which cannot be halved {finer} times")
    return [int(finest * 2**level) for level in range(-finer, len(used) + on_top)]
