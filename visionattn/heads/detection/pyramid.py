"""The feature pyramid between backbone and detector."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from visionattn.heads.features import FeatureInfo, FeatureNorms, check_maps

if TYPE_CHECKING:
    from jaxtyping import Float

EXTRAS = ("pool", "p6p7", "p6p7_input", "none")


class Pyramid(nn.Module):
    """Feature Pyramid Network (Lin et al. 2017, arXiv 1612.03144), torchvision's, on the maps of any backbone.

    Args:
        feature_info: what the backbone says of its maps.
        channels: of every level.
        extra: what comes on top: ``pool`` (one level of half the size, for R-CNN), ``p6p7`` (two convolutions, for
            RetinaNet and FCOS), ``p6p7_input`` (the same from the backbone's coarsest map, as in mmdetection's
            RetinaNet), ``none``.
        skip: how many of the finest maps are left out; RetinaNet and FCOS leave out the map of stride 4.
        feature_norms: see :class:`FeatureNorms`.

    Attributes:
        strides: of the levels.

    Raises:
        ValueError: an unknown ``extra``, or strides that do not double from stage to stage, naming the stage.

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
        feature_norms: str = "lower",
    ):
        super().__init__()
        if extra not in EXTRAS:
            raise ValueError(f"extra is one of {', '.join(EXTRAS)}, got {extra!r}")
        self.feature_info, self.channels, self.skip = list(feature_info), channels, skip
        used = self.feature_info[skip:]
        if not used:
            raise ValueError(f"the backbone has {len(self.feature_info)} maps, but skip={skip}")
        for below, info in pairwise(used):
            if info["reduction"] != 2 * below["reduction"]:
                raise ValueError(
                    f"a feature pyramid needs strides that double; {info.get('module', 'a map')} has stride "
                    f"{info['reduction']} after {below['reduction']}"
                )
        block: ExtraFPNBlock | None = None
        if extra != "none":
            source = used[-1]["num_chs"] if extra == "p6p7_input" else channels
            block = LastLevelMaxPool() if extra == "pool" else LastLevelP6P7(source, channels)
        self.norms = FeatureNorms(used, feature_norms)
        self.fpn = FeaturePyramidNetwork([info["num_chs"] for info in used], channels, extra_blocks=block)
        self.strides = [int(info["reduction"]) for info in used]
        self.num_maps = len(used)
        for _ in range({"none": 0, "pool": 1}.get(extra, 2)):
            self.strides.append(2 * self.strides[-1])

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> OrderedDict[str, Float[Tensor, "B C _ _"]]:
        check_maps(features, self.feature_info)
        maps = self.norms(features[self.skip :])
        return self.fpn(OrderedDict((str(i), x) for i, x in enumerate(maps)))
