"""What a segmentation task puts on features: norms, a decoder and, in training, an auxiliary head.

Shapes: B batch, C channels, H W map, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from visionattn.heads.features import FeatureInfo, FeatureNorms, check_maps

if TYPE_CHECKING:
    from jaxtyping import Float


class SegmentationHead(nn.Module):
    """A decoder with what surrounds it.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K.
        decoder: called as ``decoder(feature_info, num_classes)``.
        auxiliary: called likewise; a head that only training uses; None: none.
        feature_norms: layer norms before the heads, see :class:`FeatureNorms`.

    Raises:
        ValueError: the backbone's maps are not what its ``feature_info`` says.

    Shape:
        list of ``(B, C, H, W)`` -> logits ``(B, K, H, W)`` at the decoder's stride, and in training those of the
        auxiliary head, else None
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        decoder: Callable[..., nn.Module],
        auxiliary: Callable[..., nn.Module] | None = None,
        feature_norms: str = "lower",
    ):
        super().__init__()
        self.feature_info, self.num_classes = [dict(info) for info in feature_info], num_classes
        self.norms = FeatureNorms(feature_info, feature_norms)
        self.decoder = decoder(feature_info, num_classes)
        self.auxiliary = auxiliary(feature_info, num_classes) if auxiliary is not None else None

    @property
    def unused_maps(self) -> int:
        """How many of the finest maps of the backbone are left out."""
        parts = [part for part in (self.decoder, self.auxiliary) if part is not None]
        return min(int(getattr(part, "unused_maps", 0)) for part in parts)

    def removed_parts(self) -> tuple[str, ...]:
        """Parts that weights may have and this head does not need."""
        return () if self.auxiliary is not None else ("auxiliary",)

    def forward(
        self, features: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> tuple[Float[Tensor, "B K H W"], Float[Tensor, "B K h w"] | None]:
        check_maps(features, self.feature_info)
        features = self.norms(features)
        extra = self.auxiliary(features) if self.auxiliary is not None and self.training else None
        return self.decoder(features), extra
