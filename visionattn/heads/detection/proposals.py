"""Region proposals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from visionattn.heads.detection.detector import at_least_float32, check_finite
from visionattn.heads.detection.openmmlab import OPENMMLAB, TORCHVISION, Anchors, BoundedCoder, best_of_levels


class ProposalNetwork(RegionProposalNetwork):
    """Region proposal network (Ren et al. 2015, arXiv 1506.01497), torchvision's, one anchor size per level.

    Args:
        channels: of the pyramid.
        strides: of the pyramid's levels.
        anchor_scale: side of a level's anchors in units of its stride; 8 gives the usual 32 on stride 4.
        aspect_ratios: height by width.
        before_nms: candidates per level before suppression, in training and outside it.
        after_nms: proposals per image.
        nms_threshold: overlap above which the weaker one of two is dropped.
        sampled: anchors per image that the loss is taken over, half of them objects at most.
        convention: ``torchvision`` or ``openmmlab``, see :mod:`visionattn.heads.detection.openmmlab`.
    """

    def __init__(
        self,
        channels: int,
        strides: Sequence[int],
        *,
        anchor_scale: float = 8,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        before_nms: tuple[int, int] = (2000, 1000),
        after_nms: tuple[int, int] = (2000, 1000),
        nms_threshold: float = 0.7,
        sampled: int = 256,
        convention: str = TORCHVISION,
    ):
        sizes = tuple((float(anchor_scale * stride),) for stride in strides)
        ratios = (tuple(aspect_ratios),) * len(sizes)
        anchors = Anchors(sizes, ratios, strides) if convention == OPENMMLAB else AnchorGenerator(sizes, ratios)
        super().__init__(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=sampled,
            positive_fraction=0.5,
            pre_nms_top_n={"training": before_nms[0], "testing": before_nms[1]},
            post_nms_top_n={"training": after_nms[0], "testing": after_nms[1]},
            nms_thresh=nms_threshold,
        )
        self.convention = convention
        if convention == OPENMMLAB:
            self.box_coder = BoundedCoder((1.0, 1.0, 1.0, 1.0))

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """torchvision's, which drops what is not finite without a word; outside training that is an error here."""
        if not self.training:
            check_finite("proposals", objectness, proposals)
        if self.convention == TORCHVISION:
            return super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
        scores = at_least_float32(objectness.detach()).view(len(proposals), -1).sigmoid()
        found = [
            self._best(boxes.split(num_anchors_per_level), score.split(num_anchors_per_level), size)
            for boxes, score, size in zip(proposals, scores, image_shapes, strict=True)
        ]
        return [boxes for boxes, _, _ in found], [score for _, score, _ in found]

    def _best(
        self, boxes: Sequence[Tensor], scores: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The proposals of one image from the boxes of its levels, as mmdetection chooses them."""
        ranked = [score.sort(descending=True, stable=True) for score in scores]
        first = [(score[: self.pre_nms_top_n()], index[: self.pre_nms_top_n()]) for score, index in ranked]
        levels = [
            (box[index], score, torch.full_like(index, level))
            for level, (box, (score, index)) in enumerate(zip(boxes, first, strict=True))
        ]
        return best_of_levels(levels, size, self.nms_thresh, self.post_nms_top_n())
