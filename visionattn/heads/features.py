"""Between a backbone's maps and a dense head: the check of the maps, and the norms that dense tasks add.

Shapes: B batch, C channels, H W map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

FeatureInfo = Sequence[Mapping[str, Any]]
NORMS = ("lower", "all", "instead", "none")


def check_maps(features: Sequence[Tensor], feature_info: FeatureInfo) -> None:
    """Check a backbone's maps against its ``feature_info``.

    Raises:
        ValueError: another number of maps, other channels, or sizes that do not follow from the declared reductions;
            the sentence names the stage.
    """
    if len(features) != len(feature_info):
        raise ValueError(f"the backbone declares {len(feature_info)} maps and gives {len(features)}")
    first = feature_info[0]["reduction"]
    for x, info in zip(features, feature_info, strict=True):
        stage, reduction = info.get("module", "a map"), info["reduction"]
        if x.ndim != 4 or x.shape[1] != info["num_chs"]:
            raise ValueError(f"{stage} declares {info['num_chs']} channels, but its map is {tuple(x.shape)}")
        for edge, reference in zip(x.shape[-2:], features[0].shape[-2:], strict=True):
            if abs(edge * reduction - reference * first) >= max(reduction, first):
                raise ValueError(
                    f"{stage} declares stride {reduction}, but its map is {tuple(x.shape[-2:])} where that of stride "
                    f"{first} is {tuple(features[0].shape[-2:])}"
                )


class FeatureNorms(nn.Module):
    """Layer norms over the channels of the maps.

    The published dense models of Swin (Liu et al. 2021, arXiv 2103.14030), NAT, DiNAT, CSWin and DaViT have them on
    every output.

    The last map of our backbones has its norm already, the one of classification, whose pretrained weights are kept;
    the published code starts a new one there. The number of parameters is the same. BiFormer's and CAS-ViT's norm of
    classification is another kind of norm, which their dense code leaves out (``instead``).

    Args:
        feature_info: what the backbone declares of its maps.
        which: ``lower``: all maps but the last; ``all``: all, the last after the backbone's own norm, if it has one;
            ``instead``: all, without that norm; ``none``.

    Attributes:
        replaces_norm: whether a task takes the backbone's own norm away.

    Raises:
        ValueError: another word.

    Shape:
        list of ``(B, C, H, W)`` -> the same
    """

    def __init__(self, feature_info: FeatureInfo, which: str = "lower"):
        super().__init__()
        if which not in NORMS:
            raise ValueError(f"feature norms are one of {', '.join(NORMS)}, got {which!r}")
        count = {"lower": len(feature_info) - 1, "none": 0}.get(which, len(feature_info))
        self.replaces_norm = which == "instead"
        self.norms = nn.ModuleList(
            nn.LayerNorm(info["num_chs"]) if i < count else nn.Identity() for i, info in enumerate(feature_info)
        )

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B _ _ _"]]:
        return [
            x if isinstance(norm, nn.Identity) else norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for x, norm in zip(features, self.norms, strict=True)
        ]
