"""The branches that predict class, box and mask of every proposal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads

from visionattn.heads.detection.align import RegionAlign
from visionattn.heads.detection.detector import check_finite
from visionattn.options import grouped

if TYPE_CHECKING:
    from jaxtyping import Float

BOX_HEADS = ("2fc", "4conv1fc")
BOX_LOSSES = ("smooth_l1", "giou")


@dataclass(frozen=True)
class RegionSampling:
    """Which proposals the losses are taken over.

    Attributes:
        sampled: proposals per image, a quarter of them objects at most.
        mask_sampled: objects per image that the masks' loss is taken over, drawn from those; None: all of them.
        overlap: IoU from which a proposal counts as an object.
    """

    sampled: int = 512
    mask_sampled: int | None = None
    overlap: float = 0.5


@dataclass(frozen=True)
class DetectionLimits:
    """Which detections are kept.

    Attributes:
        score_threshold: detections below it are left out.
        nms_threshold: overlap above which the weaker one of two of a class is dropped.
        per_image: detections per image at most.
    """

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    per_image: int = 100


class RegionHeads(RoIHeads):
    """Box and mask branches of Mask R-CNN (He et al. 2017, arXiv 1703.06870), torchvision's.

    Args:
        channels: of the pyramid.
        num_maps: the pyramid's levels that regions are taken from (the finest ones).
        num_classes: classes K, without the background.
        masks: with a mask branch.
        box_head: ``2fc``, or ``4conv1fc`` with batch norms (Wu and He 2018, arXiv 1803.08494), which the backbone
            papers put into Cascade R-CNN.
        box_loss: ``smooth_l1`` of the offsets, or ``giou`` of the boxes.
        width: of the fully connected layers.
        mask_channels: of the mask branch's four convolutions.
        box_weights: factors on the offsets (x, y, width, height).
        class_agnostic: one box for all classes, as in Cascade R-CNN.
        sampling: its fields are arguments of their own, see :class:`RegionSampling`.
        limits: its fields are arguments of their own, see :class:`DetectionLimits`.

    Raises:
        TypeError: an argument of another name.
        ValueError: an unknown ``box_head`` or ``box_loss``, or ``mask_sampled`` below 1.
    """

    @grouped(sampling=RegionSampling, limits=DetectionLimits)
    def __init__(
        self,
        channels: int,
        num_maps: int,
        num_classes: int,
        *,
        masks: bool = True,
        box_head: str = "2fc",
        box_loss: str = "smooth_l1",
        width: int = 1024,
        mask_channels: int = 256,
        box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
        class_agnostic: bool = False,
        sampling: RegionSampling,
        limits: DetectionLimits,
    ):
        if box_loss not in BOX_LOSSES:
            raise ValueError(f"box_loss is one of {', '.join(BOX_LOSSES)}, got {box_loss!r}")
        if sampling.mask_sampled is not None and sampling.mask_sampled < 1:
            raise ValueError(f"mask_sampled is at least 1, or null for all, got {sampling.mask_sampled}")
        head = _box_head(box_head, channels, width)
        mask_parts = _mask_branch(channels, num_maps, num_classes, mask_channels) if masks else {}
        super().__init__(
            RegionAlign(num_maps, 7),
            head,
            AgnosticPredictor(width, num_classes + 1) if class_agnostic else FastRCNNPredictor(width, num_classes + 1),
            fg_iou_thresh=sampling.overlap,
            bg_iou_thresh=sampling.overlap,
            batch_size_per_image=sampling.sampled,
            positive_fraction=0.25,
            bbox_reg_weights=tuple(box_weights),
            score_thresh=limits.score_threshold,
            nms_thresh=limits.nms_threshold,
            detections_per_img=limits.per_image,
            **mask_parts,
        )
        self.box_loss, self.mask_sampled = box_loss, sampling.mask_sampled

    def cost(self, maps: Mapping[str, Tensor]) -> None:
        """See :meth:`Detector.cost`."""
        map_ = maps["0"]
        self.box_predictor(self.box_head(map_.new_zeros(1000, map_.shape[1], 7, 7)))
        if self.mask_predictor is not None:
            self.mask_predictor(self.mask_head(map_.new_zeros(100, map_.shape[1], 14, 14)))

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """torchvision's, after a check for values that are not finite."""
        check_finite("class scores and boxes", class_logits, box_regression)
        return super().postprocess_detections(class_logits, box_regression, proposals, image_shapes)


def _box_head(name: str, channels: int, width: int) -> nn.Module:
    if name not in BOX_HEADS:
        raise ValueError(f"box_head is one of {', '.join(BOX_HEADS)}, got {name!r}")
    if name == "2fc":
        return TwoMLPHead(channels * 7 * 7, width)
    return FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [width], norm_layer=nn.BatchNorm2d)


def _mask_branch(channels: int, num_maps: int, num_classes: int, mask_channels: int) -> dict[str, nn.Module]:
    return {
        "mask_roi_pool": RegionAlign(num_maps, 14),
        "mask_head": MaskRCNNHeads(channels, (mask_channels,) * 4, 1),
        "mask_predictor": MaskRCNNPredictor(mask_channels, mask_channels, num_classes + 1),
    }


class AgnosticPredictor(nn.Module):
    """Class scores, and one box for all classes.

    Shape:
        ``(N, width) -> (N, num_classes), (N, 4)``
    """

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.cls_score = nn.Linear(width, num_classes)
        self.bbox_pred = nn.Linear(width, 4)

    def forward(self, x: Float[Tensor, "N C"]) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N 4"]]:
        return self.cls_score(x), self.bbox_pred(x)
