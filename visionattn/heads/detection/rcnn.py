"""Faster R-CNN and Mask R-CNN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from visionattn.heads.detection.detector import Detections, Detector, Targets, shifted
from visionattn.heads.detection.openmmlab import PASTES, TORCHVISION, check_convention
from visionattn.heads.detection.proposals import ProposalNetwork
from visionattn.heads.detection.pyramid import Pyramid
from visionattn.heads.detection.regions import RegionHeads
from visionattn.heads.detection.stages import detections, stage_losses
from visionattn.heads.features import FeatureInfo

if TYPE_CHECKING:
    from jaxtyping import Float


class RCNN(Detector):
    """Faster R-CNN on a feature pyramid, and with masks Mask R-CNN.

    Ren et al. 2015, arXiv 1506.01497; Lin et al. 2017, arXiv 1612.03144; He et al. 2017, arXiv 1703.06870.

    With torchvision's ResNet-50 and its weights the detections are those of ``maskrcnn_resnet50_fpn``, bit by bit.
    With ``convention="openmmlab"`` and weights of mmdetection's Faster or Mask R-CNN they are mmdetection's. There
    boxes learn by L1, here by smooth L1 with beta 1/9.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K, without the background.
        masks: Mask R-CNN; without, Faster R-CNN.
        pyramid: called as ``pyramid(feature_info)``.
        proposals: called as ``proposals(channels, strides, convention=)``.
        regions: called as ``regions(channels, num_maps, num_classes, masks=, convention=, strides=)``.
        convention: how anchors, regions and boxes are computed: ``torchvision``, or ``openmmlab`` for weights of
            mmdetection, see :mod:`visionattn.heads.detection.openmmlab`.

    Raises:
        ValueError: another convention.
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        masks: bool = True,
        pyramid: Callable[..., Pyramid] = Pyramid,
        proposals: Callable[..., ProposalNetwork] = ProposalNetwork,
        regions: Callable[..., RegionHeads] = RegionHeads,
        convention: str = TORCHVISION,
    ):
        super().__init__()
        self.has_masks, self.convention, self.paste = masks, check_convention(convention), PASTES[convention]
        self.pyramid = pyramid(feature_info)
        channels, strides = self.pyramid.channels, self.pyramid.strides
        self.rpn = proposals(channels, strides, convention=convention)
        self.roi_heads = regions(
            channels, self.pyramid.num_maps, num_classes, masks=masks, convention=convention, strides=strides
        )

    def losses(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList, targets: Targets
    ) -> dict[str, Float[Tensor, ""]]:
        targets = shifted(targets, 1)
        maps = self.pyramid(features)
        proposals, losses = self.rpn(images, maps, targets)
        return losses | stage_losses(self.roi_heads, maps, proposals, images.image_sizes, targets)[0]

    def detect(self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList) -> Detections:
        maps = self.pyramid(features)
        proposals, _ = self.rpn(images, maps)
        return shifted(detections([self.roi_heads], maps, proposals, images.image_sizes), -1)

    def layers_on_maps(self) -> list[nn.Module]:
        return [self.pyramid, self.rpn.head]

    def cost(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> None:
        maps = self.pyramid(features)
        self.rpn.head(list(maps.values()))
        self.roi_heads.cost(maps)
