"""Cascade R-CNN and Cascade Mask R-CNN.

Shapes: N proposals of an image, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import maskrcnn_inference, maskrcnn_loss
from torchvision.ops import batched_nms
from torchvision.ops import boxes as box_ops

from visionattn.heads.detection.detector import Detections, Detector, Targets, check_finite, shifted
from visionattn.heads.detection.proposals import ProposalNetwork
from visionattn.heads.detection.pyramid import Pyramid
from visionattn.heads.detection.regions import RegionHeads
from visionattn.heads.features import FeatureInfo

Maps = Mapping[str, Tensor]
OVERLAPS = (0.5, 0.6, 0.7)
BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
LOSS_WEIGHTS = (1.0, 0.5, 0.25)


class CascadeRCNN(Detector):
    """Cascade R-CNN (Cai and Vasconcelos 2018, arXiv 1712.00726): three box branches in turn, each trained on the boxes
    that the one before has refined, with a higher overlap for what counts as an object.

    As in mmdetection, which the backbone papers report with: boxes are class-agnostic; every stage samples anew among
    its boxes and the true ones, and true boxes are not passed on; each stage has its own mask branch. Outside training
    the class scores, and the masks of the final boxes, are the means over the stages. Different: smooth L1 with beta
    1/9 instead of 1 for boxes, as everywhere in torchvision.

    Args:
        feature_info: what the backbone says of its maps.
        num_classes: classes K, without the background.
        masks: Cascade Mask R-CNN; without, Cascade R-CNN.
        pyramid: called as ``pyramid(feature_info)``.
        proposals: called as ``proposals(channels, strides)``.
        regions: called once per stage as ``regions(channels, num_maps, num_classes, masks=, overlap=, box_weights=,
            class_agnostic=True)``.
        overlaps: IoU from which a box counts as an object, per stage.
        loss_weights: per stage.
    Raises:
        ValueError: another number of loss weights than of stages, or more than three stages.
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
        overlaps: Sequence[float] = OVERLAPS,
        loss_weights: Sequence[float] = LOSS_WEIGHTS,
    ):
        super().__init__()
        if len(overlaps) != len(loss_weights) or not 0 < len(overlaps) <= len(BOX_WEIGHTS):
            raise ValueError(
                f"a cascade has one to three stages with a loss weight each, got {len(overlaps)} overlaps and "
                f"{len(loss_weights)} loss weights"
            )
        self.has_masks = masks
        self.loss_weights = tuple(loss_weights)
        self.pyramid = pyramid(feature_info)
        channels, num_maps = self.pyramid.channels, self.pyramid.num_maps
        self.rpn = proposals(channels, self.pyramid.strides)
        self.cascade = nn.ModuleList(
            regions(
                channels,
                num_maps,
                num_classes,
                masks=masks,
                overlap=overlap,
                box_weights=weights,
                class_agnostic=True,
            )
            for overlap, weights in zip(overlaps, BOX_WEIGHTS, strict=False)
        )

    def losses(self, features: Sequence[Tensor], images: ImageList, targets: Targets) -> dict[str, Tensor]:
        targets = shifted(targets, 1)
        maps = self.pyramid(features)
        boxes, losses = self.rpn(images, maps, targets)
        for i, (stage, weight) in enumerate(zip(self.cascade, self.loss_weights, strict=True)):
            own, boxes = stage_losses(stage, maps, boxes, images.image_sizes, targets)  # type: ignore[arg-type]
            losses |= {f"{name}_{i + 1}": weight * loss for name, loss in own.items()}
        return losses

    def detect(self, features: Sequence[Tensor], images: ImageList) -> Detections:
        maps = self.pyramid(features)
        boxes, _ = self.rpn(images, maps)
        scores: Tensor | float = 0.0
        for stage in self.cascade:
            logits, offsets = box_outputs(stage, maps, boxes, images.image_sizes)  # type: ignore[arg-type]
            check_finite("class scores and boxes", logits, offsets)
            scores = scores + logits.float().softmax(-1) / len(self.cascade)
            boxes = refine(stage, boxes, offsets, images.image_sizes)  # type: ignore[arg-type]
        counts = [len(b) for b in boxes]
        last: RegionHeads = self.cascade[-1]  # type: ignore[assignment]
        found = [select(last, b, s) for b, s in zip(boxes, torch.as_tensor(scores).split(counts), strict=True)]
        if self.has_masks:
            self._add_masks(found, maps, images.image_sizes)
        return shifted(found, -1)

    def cost(self, features: Sequence[Tensor]) -> None:
        maps = self.pyramid(features)
        self.rpn.head(list(maps.values()))
        for stage in self.cascade:
            stage.cost(maps)  # type: ignore[operator]

    def _add_masks(self, found: Detections, maps: Maps, sizes: list[tuple[int, int]]) -> None:
        boxes, labels = [f["boxes"] for f in found], [f["labels"] for f in found]
        each = [maskrcnn_inference(mask_logits(stage, maps, boxes, sizes), labels) for stage in self.cascade]  # type: ignore[arg-type]
        for i, f in enumerate(found):
            f["masks"] = torch.stack([masks[i] for masks in each]).mean(0)


def stage_losses(
    stage: RegionHeads, maps: Maps, boxes: list[Tensor], sizes: list[tuple[int, int]], targets: Targets
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """One stage's losses, and the refined boxes for the next one."""
    samples = sample(stage, boxes, targets)
    chosen = [s["boxes"] for s in samples]
    logits, offsets = box_outputs(stage, maps, chosen, sizes)
    labels = torch.cat([s["labels"] for s in samples])
    positive = torch.where(labels > 0)[0]
    goals = torch.cat(stage.box_coder.encode([s["matched"] for s in samples], chosen))
    losses = {
        "loss_classifier": F.cross_entropy(logits, labels),
        "loss_box_reg": F.smooth_l1_loss(offsets[positive], goals[positive], beta=1 / 9, reduction="sum")
        / max(labels.numel(), 1),
    }
    if stage.has_mask():
        places = [torch.where(s["labels"] > 0)[0] for s in samples]
        objects = [b[p] for b, p in zip(chosen, places, strict=True)]
        found = mask_logits(stage, maps, objects, sizes)
        which = [s["index"][p] for s, p in zip(samples, places, strict=True)]
        masks, classes = [t["masks"] for t in targets], [t["labels"] for t in targets]
        losses["loss_mask"] = maskrcnn_loss(found, objects, masks, classes, which)
    with torch.no_grad():
        refined = refine(stage, chosen, offsets, sizes)
        passed = [b[~s["true"]] for b, s in zip(refined, samples, strict=True)]
    return losses, [b[box_ops.remove_small_boxes(b, 1e-2)] for b in passed]


def sample(stage: RegionHeads, boxes: list[Tensor], targets: Targets) -> list[dict[str, Tensor]]:
    """Boxes of each image for the loss of a stage: ``boxes``, ``labels`` (0 is background), ``index`` of the true
    object and its box ``matched``, and ``true`` for the boxes that are a true object's own.
    """
    truth = [t["boxes"].to(boxes[0].dtype) for t in targets]
    joined = stage.add_gt_proposals(boxes, truth)
    indices, labels = stage.assign_targets_to_proposals(joined, truth, [t["labels"] for t in targets])
    samples = []
    for i, pick in enumerate(stage.subsample(labels)):
        chosen, index = joined[i][pick], indices[i][pick]
        matched = truth[i][index] if len(truth[i]) else torch.zeros_like(chosen)
        true = pick >= len(boxes[i])
        samples.append({"boxes": chosen, "labels": labels[i][pick], "index": index, "matched": matched, "true": true})
    return samples


def box_outputs(
    stage: RegionHeads, maps: Maps, boxes: list[Tensor], sizes: list[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Class logits (sum of N, K + 1) and offsets (sum of N, 4)."""
    return stage.box_predictor(stage.box_head(stage.box_roi_pool(maps, boxes, sizes)))


def mask_logits(stage: RegionHeads, maps: Maps, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
    """``(sum of N, K + 1, 28, 28)``"""
    assert stage.mask_predictor is not None
    return stage.mask_predictor(stage.mask_head(stage.mask_roi_pool(maps, boxes, sizes)))


def refine(stage: RegionHeads, boxes: list[Tensor], offsets: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """The boxes moved by their offsets and clipped to their images; no gradient flows through them."""
    moved = stage.box_coder.decode_single(offsets.detach(), torch.cat(boxes)).split([len(b) for b in boxes])
    return [box_ops.clip_boxes_to_image(b, size) for b, size in zip(moved, sizes, strict=True)]


def select(stage: RegionHeads, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
    """The detections of one image: boxes ``(N, 4)`` that every class shares, scores ``(N, K + 1)`` with the background
    first; threshold, suppression within each class, the best ones.
    """
    place, label = torch.where(scores[:, 1:] > stage.score_thresh)
    label = label + 1
    boxes, scores = boxes[place], scores[place, label]
    keep = box_ops.remove_small_boxes(boxes, 1e-2)
    boxes, scores, label = boxes[keep], scores[keep], label[keep]
    keep = batched_nms(boxes, scores, label, stage.nms_thresh)[: stage.detections_per_img]
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": label[keep]}
