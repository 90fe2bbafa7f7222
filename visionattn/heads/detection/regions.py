"""The branches that predict class, box and mask of every proposal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads

from visionattn.heads.detection.align import RegionAlign
from visionattn.heads.detection.openmmlab import OPENMMLAB, TORCHVISION, AdaptiveAlign, BoundedCoder
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

    def __post_init__(self) -> None:
        if self.mask_sampled is not None and self.mask_sampled < 1:
            raise ValueError(f"mask_sampled is at least 1, or null for all, got {self.mask_sampled}")


@dataclass(frozen=True)
class RegionBoxes:
    """How regions are pooled and moved.

    Attributes:
        box_loss: ``smooth_l1`` of the offsets, or ``giou`` of the boxes.
        box_weights: factors on the offsets (x, y, width, height).
        class_agnostic: one box for all classes, as in Cascade R-CNN.
        convention: ``torchvision`` or ``openmmlab``, see :mod:`visionattn.heads.detection.openmmlab`.
        strides: of the pyramid's levels, the finest first; needed for ``openmmlab``, else found from the maps.
    """

    box_loss: str = "smooth_l1"
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    class_agnostic: bool = False
    convention: str = TORCHVISION
    strides: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.box_loss not in BOX_LOSSES:
            raise ValueError(f"box_loss is one of {', '.join(BOX_LOSSES)}, got {self.box_loss!r}")


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
        width: of the fully connected layers.
        mask_channels: of the mask branch's four convolutions.
        boxes: its fields are arguments of their own, see :class:`RegionBoxes`.
        sampling: its fields are arguments of their own, see :class:`RegionSampling`.
        limits: its fields are arguments of their own, see :class:`DetectionLimits`.

    Raises:
        TypeError: an argument of another name.
        ValueError: an unknown ``box_head`` or ``box_loss``, or ``mask_sampled`` below 1.
    """

    @grouped(boxes=RegionBoxes, sampling=RegionSampling, limits=DetectionLimits)
    def __init__(
        self,
        channels: int,
        num_maps: int,
        num_classes: int,
        *,
        masks: bool = True,
        box_head: str = "2fc",
        width: int = 1024,
        mask_channels: int = 256,
        boxes: RegionBoxes,
        sampling: RegionSampling,
        limits: DetectionLimits,
    ):
        head = _box_head(box_head, channels, width)
        align: Callable[[int], nn.Module] = partial(RegionAlign, num_maps)
        if boxes.convention == OPENMMLAB:
            align = partial(AdaptiveAlign, tuple(boxes.strides)[:num_maps])
        mask_parts = _mask_branch(channels, align(14), num_classes, mask_channels) if masks else {}
        super().__init__(
            align(7),
            head,
            (AgnosticPredictor if boxes.class_agnostic else FastRCNNPredictor)(width, num_classes + 1),
            fg_iou_thresh=sampling.overlap,
            bg_iou_thresh=sampling.overlap,
            batch_size_per_image=sampling.sampled,
            positive_fraction=0.25,
            bbox_reg_weights=tuple(boxes.box_weights),
            score_thresh=limits.score_threshold,
            nms_thresh=limits.nms_threshold,
            detections_per_img=limits.per_image,
            **mask_parts,
        )
        self.box_loss, self.mask_sampled, self.convention = boxes.box_loss, sampling.mask_sampled, boxes.convention
        if self.convention == OPENMMLAB:
            self.box_coder = BoundedCoder(tuple(boxes.box_weights))

    def cost(self, maps: Mapping[str, Tensor]) -> None:
        """See :meth:`Detector.cost`."""
        map_ = maps["0"]
        self.box_predictor(self.box_head(map_.new_zeros(1000, map_.shape[1], 7, 7)))
        if self.mask_predictor is not None:
            self.mask_predictor(self.mask_head(map_.new_zeros(100, map_.shape[1], 14, 14)))


def _box_head(name: str, channels: int, width: int) -> nn.Module:
    if name not in BOX_HEADS:
        raise ValueError(f"box_head is one of {', '.join(BOX_HEADS)}, got {name!r}")
    if name == "2fc":
        return TwoMLPHead(channels * 7 * 7, width)
    return FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [width], norm_layer=nn.BatchNorm2d)


def _mask_branch(channels: int, align: nn.Module, num_classes: int, mask_channels: int) -> dict[str, nn.Module]:
    return {
        "mask_roi_pool": align,
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
