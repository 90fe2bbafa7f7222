"""Region proposals."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from visionattn.heads.detection.detector import check_finite


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
    ):
        sizes = tuple((float(anchor_scale * stride),) for stride in strides)
        anchors = AnchorGenerator(sizes, (tuple(aspect_ratios),) * len(sizes))
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
        return super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
