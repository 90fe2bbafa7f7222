"""One-stage detectors: RetinaNet and FCOS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead

from visionattn.heads.detection.detector import Detections, Detector, Targets, at_least_float32, check_finite
from visionattn.heads.detection.openmmlab import (
    OPENMMLAB,
    TORCHVISION,
    Anchors,
    BoundedCoder,
    best_of_levels,
    check_convention,
)
from visionattn.heads.detection.pyramid import Pyramid
from visionattn.heads.features import FeatureInfo

if TYPE_CHECKING:
    from jaxtyping import Float

_GROUPS = 32
_PYRAMID = partial(Pyramid, extra="p6p7", skip=1)


class _Channels(nn.Module):
    """What torchvision's detectors want to be built on: something that names its channels. It is never called."""

    def __init__(self, channels: int):
        super().__init__()
        self.out_channels = channels


class _Dense(Detector):
    """What both have in common: the layers run on every level, the losses and the selection are torchvision's."""

    pyramid: Pyramid
    detector: RetinaNet | FCOS

    def _layers(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList
    ) -> tuple[dict[str, Tensor], list[Tensor], list]:
        maps = list(self.pyramid(features).values())
        detector = self.detector
        per_place = detector.anchor_generator.num_anchors_per_location()[0]
        counts = [x.shape[2] * x.shape[3] * per_place for x in maps]
        return detector.head(maps), detector.anchor_generator(images, maps), counts

    @property
    def unused_maps(self) -> int:
        """How many of the finest maps of the backbone are left out."""
        return self.pyramid.skip

    def layers_on_maps(self) -> list[nn.Module]:
        return [self.pyramid, self.detector.head]

    def cost(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> None:
        self.detector.head(list(self.pyramid(features).values()))

    def detect(self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList) -> Detections:
        outputs, anchors, counts = self._layers(features, images)
        check_finite("class scores and boxes", *outputs.values())
        split = {name: list(x.split(counts, dim=1)) for name, x in outputs.items()}
        anchors_per_level = [list(a.split(counts)) for a in anchors]
        return self._selected(split, anchors_per_level, images.image_sizes)

    def _selected(
        self, outputs: dict[str, list[Tensor]], anchors: list[list[Tensor]], sizes: list[tuple[int, int]]
    ) -> Detections:
        """The detections of each image from the outputs on every level, ``(B, N, _)``, and its anchors there."""
        return self.detector.postprocess_detections(outputs, anchors, sizes)


class RetinaNetDetector(_Dense):
    """RetinaNet (Lin et al. 2017, arXiv 1708.02002), torchvision's layers, losses and selection.

    With ``convention="openmmlab"`` and weights of mmdetection's RetinaNet the detections are mmdetection's.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K.
        pyramid: called as ``pyramid(feature_info, relu_on_top=)``; by default levels of stride 8 to 128.
        anchor_scale: side of the smallest anchor of a level in units of its stride.
        topk: candidates per level before suppression.
        score_threshold: detections below it are left out.
        nms_threshold: overlap above which the weaker one of two of a class is dropped.
        per_image: detections per image at most.
        convention: how anchors and boxes are computed: ``torchvision``, or ``openmmlab`` for weights of mmdetection,
            see :mod:`visionattn.heads.detection.openmmlab`.

    Raises:
        ValueError: another convention.
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        pyramid: Callable[..., Pyramid] = _PYRAMID,
        anchor_scale: float = 4,
        topk: int = 1000,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        per_image: int = 100,
        convention: str = TORCHVISION,
    ):
        super().__init__()
        self.convention = check_convention(convention)
        self.pyramid = pyramid(feature_info, relu_on_top=convention == TORCHVISION)
        anchors = _retinanet_anchors(self.pyramid.strides, anchor_scale, convention)
        self.detector = RetinaNet(
            _Channels(self.pyramid.channels),
            num_classes,
            anchor_generator=anchors,
            head=RetinaNetHead(self.pyramid.channels, anchors.num_anchors_per_location()[0], num_classes),
            topk_candidates=topk,
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            detections_per_img=per_image,
        )
        if convention == OPENMMLAB:
            self.detector.box_coder = BoundedCoder(self.detector.box_coder.weights)

    def losses(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList, targets: Targets
    ) -> dict[str, Float[Tensor, ""]]:
        outputs, anchors, _ = self._layers(features, images)
        losses = self.detector.compute_loss([dict(t) for t in targets], outputs, anchors)
        return {f"loss_{name}": loss for name, loss in losses.items()}

    def _selected(
        self, outputs: dict[str, list[Tensor]], anchors: list[list[Tensor]], sizes: list[tuple[int, int]]
    ) -> Detections:
        if self.convention == TORCHVISION:
            return super()._selected(outputs, anchors, sizes)
        logits, offsets = outputs["cls_logits"], outputs["bbox_regression"]
        return [
            self._best([x[i] for x in logits], [x[i] for x in offsets], anchors[i], size)
            for i, size in enumerate(sizes)
        ]

    def _best(
        self, logits: list[Tensor], offsets: list[Tensor], anchors: list[Tensor], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """The detections of one image from its levels' class logits ``(N, K)`` and offsets ``(N, 4)``."""
        detector, levels = self.detector, list[tuple[Tensor, Tensor, Tensor]]()
        for level_logits, level_offsets, level_anchors in zip(logits, offsets, anchors, strict=True):
            scores = at_least_float32(level_logits).sigmoid()
            place, label = torch.where(scores > detector.score_thresh)
            score, order = scores[place, label].sort(descending=True, stable=True)
            score, order = score[: detector.topk_candidates], order[: detector.topk_candidates]
            place = place[order]
            boxes = detector.box_coder.decode_single(level_offsets[place], level_anchors[place])
            levels.append((boxes, score, label[order]))
        boxes, score, label = best_of_levels(levels, size, detector.nms_thresh, detector.detections_per_img)
        return {"boxes": boxes, "scores": score, "labels": label}


def _retinanet_anchors(strides: Sequence[int], scale: float, convention: str) -> AnchorGenerator:
    """Three sizes to an octave, in three ratios; torchvision's are of whole pixels."""
    sizes = tuple(tuple(scale * stride * 2 ** (i / 3) for i in range(3)) for stride in strides)
    ratios = ((0.5, 1.0, 2.0),) * len(sizes)
    if convention == OPENMMLAB:
        return Anchors(sizes, ratios, strides)
    return AnchorGenerator(tuple(tuple(map(int, level)) for level in sizes), ratios)


class FCOSDetector(_Dense):
    """FCOS (Tian et al. 2019, arXiv 1904.01355), torchvision's layers, losses and selection.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K.
        pyramid: called as ``pyramid(feature_info)``; by default levels of stride 8 to 128.
        topk: candidates per level before suppression.
        score_threshold: detections below it are left out.
        nms_threshold: overlap above which the weaker one of two of a class is dropped.
        per_image: detections per image at most.

    Raises:
        ValueError: channels of the pyramid that torchvision's 32 groups do not divide.
    """

    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        pyramid: Callable[..., Pyramid] = _PYRAMID,
        topk: int = 1000,
        score_threshold: float = 0.2,
        nms_threshold: float = 0.6,
        per_image: int = 100,
    ):
        super().__init__()
        self.pyramid = pyramid(feature_info)
        if self.pyramid.channels % _GROUPS:
            raise ValueError(
                f"FCOS norms its layers in {_GROUPS} groups: pyramid.channels is a multiple of {_GROUPS}, "
                f"got {self.pyramid.channels}"
            )
        anchors = AnchorGenerator(
            tuple((stride,) for stride in self.pyramid.strides), ((1.0,),) * len(self.pyramid.strides)
        )
        self.detector = FCOS(
            _Channels(self.pyramid.channels),
            num_classes,
            anchor_generator=anchors,
            head=FCOSHead(self.pyramid.channels, 1, num_classes),
            topk_candidates=topk,
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            detections_per_img=per_image,
        )

    def losses(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList, targets: Targets
    ) -> dict[str, Float[Tensor, ""]]:
        outputs, anchors, counts = self._layers(features, images)
        losses = self.detector.compute_loss([dict(t) for t in targets], outputs, anchors, counts)
        return {f"loss_{name}": torch.as_tensor(loss) for name, loss in losses.items()}
