"""Cascade R-CNN and Cascade Mask R-CNN.

Shapes: N proposals of an image, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from visionattn.heads.detection.detector import Detections, Detector, Targets, shifted
from visionattn.heads.detection.openmmlab import BOX_WEIGHTS as OPENMMLAB_BOX_WEIGHTS
from visionattn.heads.detection.openmmlab import OPENMMLAB, PASTES, TORCHVISION, check_convention
from visionattn.heads.detection.proposals import ProposalNetwork
from visionattn.heads.detection.pyramid import Pyramid
from visionattn.heads.detection.regions import RegionHeads
from visionattn.heads.detection.stages import detections, stage_losses
from visionattn.heads.features import FeatureInfo

if TYPE_CHECKING:
    from jaxtyping import Float

OVERLAPS = (0.5, 0.6, 0.7)
BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
LOSS_WEIGHTS = (1.0, 0.5, 0.25)


class CascadeRCNN(Detector):
    """Three box branches in turn, each trained on the boxes that the one before has refined.

    Cascade R-CNN: Cai and Vasconcelos 2018, arXiv 1712.00726. Each branch needs a higher overlap for an object.

    As in mmdetection, which the backbone papers report with: every stage samples anew among its boxes and the true
    ones, and true boxes are not passed on; each stage has its own mask branch. Outside training the class scores, and
    the masks of the final boxes, are the means over the stages. One box for all classes, by smooth L1, is Cai's and
    mmdetection's usual cascade (there with beta 1, here 1/9 as everywhere in torchvision); the cascades published with
    Swin, NAT and DiNAT have a box per class (``class_agnostic=False``) and learn by GIoU (``box_loss="giou"`` of the
    regions). With a box per class, that of the most probable class is passed to the next stage, in training that of the
    target where there is one.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K, without the background.
        masks: Cascade Mask R-CNN; without, Cascade R-CNN.
        pyramid: called as ``pyramid(feature_info)``.
        proposals: called as ``proposals(channels, strides, convention=)``.
        regions: called once per stage as ``regions(channels, num_maps, num_classes, masks=, overlap=, box_weights=,
            class_agnostic=, convention=, strides=)``.
        class_agnostic: one box for all classes.
        overlaps: IoU from which a box counts as an object, per stage.
        loss_weights: per stage.
        convention: how anchors, regions and boxes are computed: ``torchvision``, or ``openmmlab`` for weights of
            mmdetection, see :mod:`visionattn.heads.detection.openmmlab`.

    Raises:
        ValueError: another convention, another number of loss weights than of stages, or more than three stages.
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
        class_agnostic: bool = True,
        overlaps: Sequence[float] = OVERLAPS,
        loss_weights: Sequence[float] = LOSS_WEIGHTS,
        convention: str = TORCHVISION,
    ):
        super().__init__()
        if len(overlaps) != len(loss_weights) or not 0 < len(overlaps) <= len(BOX_WEIGHTS):
            raise ValueError(
                f"a cascade has one to three stages with a loss weight each, got {len(overlaps)} overlaps and "
                f"{len(loss_weights)} loss weights"
            )
        self.has_masks, self.convention, self.paste = masks, check_convention(convention), PASTES[convention]
        self.loss_weights = tuple(loss_weights)
        self.pyramid = pyramid(feature_info)
        channels, num_maps, strides = self.pyramid.channels, self.pyramid.num_maps, self.pyramid.strides
        self.rpn = proposals(channels, strides, convention=convention)
        every = OPENMMLAB_BOX_WEIGHTS if convention == OPENMMLAB else BOX_WEIGHTS
        self.cascade = nn.ModuleList(
            regions(
                channels,
                num_maps,
                num_classes,
                masks=masks,
                overlap=overlap,
                box_weights=weights,
                class_agnostic=class_agnostic,
                convention=convention,
                strides=strides,
            )
            for overlap, weights in zip(overlaps, every, strict=False)
        )

    def _stages(self) -> Sequence[RegionHeads]:
        return cast("Sequence[RegionHeads]", self.cascade)

    def losses(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList, targets: Targets
    ) -> dict[str, Float[Tensor, ""]]:
        targets = shifted(targets, 1)
        maps = self.pyramid(features)
        boxes, losses = self.rpn(images, maps, targets)
        for i, (stage, weight) in enumerate(zip(self._stages(), self.loss_weights, strict=True)):
            own, boxes = stage_losses(stage, maps, boxes, images.image_sizes, targets)
            losses |= {f"{name}_{i + 1}": weight * loss for name, loss in own.items()}
        return losses

    def detect(self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList) -> Detections:
        maps = self.pyramid(features)
        boxes, _ = self.rpn(images, maps)
        return shifted(detections(self._stages(), maps, boxes, images.image_sizes), -1)

    def layers_on_maps(self) -> list[nn.Module]:
        return [self.pyramid, self.rpn.head]

    def cost(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> None:
        maps = self.pyramid(features)
        self.rpn.head(list(maps.values()))
        for stage in self._stages():
            stage.cost(maps)
