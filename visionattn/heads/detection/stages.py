"""One box and mask branch at work: losses on sampled regions, refined boxes, detections.

Mask R-CNN has one such stage, a cascade three.

Shapes: N regions of an image, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import maskrcnn_inference, maskrcnn_loss
from torchvision.ops import batched_nms, generalized_box_iou_loss
from torchvision.ops import boxes as box_ops

from visionattn.heads.detection.detector import Detections, Targets, at_least_float32, check_finite
from visionattn.heads.detection.openmmlab import OPENMMLAB, suppress
from visionattn.heads.detection.regions import RegionHeads

Maps = Mapping[str, Tensor]
Sizes = list[tuple[int, int]]
GIOU_WEIGHT = 10.0
"""Weight of the GIoU loss in the published cascades of Swin, NAT and DiNAT."""


def stage_losses(
    stage: RegionHeads, maps: Maps, boxes: list[Tensor], sizes: Sizes, targets: Targets
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """One stage's losses, and the refined boxes for the next one."""
    samples = sample(stage, boxes, targets)
    chosen = [s["boxes"] for s in samples]
    logits, offsets = box_outputs(stage, maps, chosen, sizes)
    labels = torch.cat([s["labels"] for s in samples])
    losses = {
        "loss_classifier": F.cross_entropy(logits, labels),
        "loss_box_reg": box_loss(stage, offsets, chosen, [s["matched"] for s in samples], labels),
    }
    if stage.has_mask():
        masked = [with_mask(s, target) for s, target in zip(samples, targets, strict=True)]
        indices = [subsample(positive, stage.mask_sampled) for positive in masked]
        objects = [b[p] for b, p in zip(chosen, indices, strict=True)]
        predicted = mask_logits(stage, maps, objects, sizes)
        which = [s["index"][p] for s, p in zip(samples, indices, strict=True)]
        masks, classes = [t["masks"] for t in targets], [t["labels"] for t in targets]
        losses["loss_mask"] = maskrcnn_loss(predicted, objects, masks, classes, which)
    with torch.no_grad():
        refined = refine(stage, chosen, offsets, predicted_class(logits, labels), sizes)
        passed = [b[~s["true"]] for b, s in zip(refined, samples, strict=True)]
    return losses, [b[box_ops.remove_small_boxes(b, 1e-2)] for b in passed]


def detections(stages: Sequence[RegionHeads], maps: Maps, boxes: list[Tensor], sizes: Sizes) -> Detections:
    """What the stages find in turn in the proposals of each image; labels are 1..K.

    Class scores, and the masks of the final boxes, are the means over the stages.

    Raises:
        NonFiniteLossError: what the layers say is not finite.
    """
    last, logits = stages[-1], list[Tensor]()
    for stage in stages:
        classes, offsets = box_outputs(stage, maps, boxes, sizes)
        check_finite("class scores and boxes", classes, offsets)
        logits.append(at_least_float32(classes))
        if stage is not last:
            boxes = refine(stage, boxes, offsets, predicted_class(classes), sizes)
    final = decode_boxes(last, boxes, offsets, sizes)
    parts = _mean_scores(logits, last.convention).split([len(b) for b in final])
    found = [select(last, b, s) for b, s in zip(final, parts, strict=True)]
    if last.has_mask():
        shown, labels = [d["boxes"] for d in found], [d["labels"] for d in found]
        each = [maskrcnn_inference(mask_logits(stage, maps, shown, sizes), labels) for stage in stages]
        for i, one in enumerate(found):
            one["masks"] = torch.stack([masks[i] for masks in each]).mean(0)
    return found


def _mean_scores(logits: Sequence[Tensor], convention: str) -> Tensor:
    """Probabilities of the classes: the mean over the stages, or in mmdetection those of the mean of the logits."""
    if convention == OPENMMLAB:
        return (sum(logits[1:], logits[0]) / len(logits)).softmax(-1)
    shares = [one.softmax(-1) / len(logits) for one in logits]
    return sum(shares[1:], shares[0])


def sample(stage: RegionHeads, boxes: list[Tensor], targets: Targets) -> list[dict[str, Tensor]]:
    """Sample the boxes of each image for the loss of a stage.

    Returns:
        for each image ``boxes``, ``labels`` (0 is background), ``index`` of the target object and its box ``matched``,
        and ``true`` for the boxes that are a target's own.
    """
    gt_boxes = [t["boxes"].to(boxes[0].dtype) for t in targets]
    joined = stage.add_gt_proposals(boxes, gt_boxes)
    indices, labels = stage.assign_targets_to_proposals(joined, gt_boxes, [t["labels"] for t in targets])
    samples = []
    for i, pick in enumerate(stage.subsample(labels)):
        chosen, index = joined[i][pick], indices[i][pick]
        matched = gt_boxes[i][index] if len(gt_boxes[i]) else torch.zeros_like(chosen)
        true = pick >= len(boxes[i])
        samples.append({"boxes": chosen, "labels": labels[i][pick], "index": index, "matched": matched, "true": true})
    return samples


def with_mask(sampled: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Indices of the sampled regions that are objects whose mask is known; see :data:`Targets`."""
    positive = torch.where(sampled["labels"] > 0)[0]
    return positive[target["has_mask"][sampled["index"][positive]]] if "has_mask" in target else positive


def subsample(indices: Tensor, most: int | None) -> Tensor:
    """At most ``most`` of the indices, drawn at random; all for None."""
    if most is None or len(indices) <= most:
        return indices
    return indices[torch.randperm(len(indices), device=indices.device)[:most]]


def box_outputs(stage: RegionHeads, maps: Maps, boxes: list[Tensor], sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Class logits (sum of N, K + 1) and offsets (sum of N, 4), or (sum of N, 4 (K + 1)) with a box per class."""
    return stage.box_predictor(stage.box_head(stage.box_roi_pool(maps, boxes, sizes)))


def mask_logits(stage: RegionHeads, maps: Maps, boxes: list[Tensor], sizes: Sizes) -> Tensor:
    """Mask logits ``(sum of N, K + 1, 28, 28)``."""
    assert stage.mask_predictor is not None
    return stage.mask_predictor(stage.mask_head(stage.mask_roi_pool(maps, boxes, sizes)))


def box_loss(stage: RegionHeads, offsets: Tensor, boxes: list[Tensor], matched: list[Tensor], labels: Tensor) -> Tensor:
    """Loss of the boxes, over the regions that are objects, divided by the number of all regions.

    Smooth L1 of the offsets with beta 1/9, or ten times the GIoU loss of the boxes (Rezatofighi et al. 2019, arXiv
    1902.09630).
    """
    positive = torch.where(labels > 0)[0]
    predicted = select_class(offsets, labels)[positive]
    if stage.box_loss == "giou":
        moved = stage.box_coder.decode_single(predicted.float(), torch.cat(boxes)[positive])
        total = GIOU_WEIGHT * generalized_box_iou_loss(moved, torch.cat(matched)[positive], reduction="sum")
    else:
        goals = torch.cat(stage.box_coder.encode(matched, boxes))[positive]
        total = F.smooth_l1_loss(predicted, goals, beta=1 / 9, reduction="sum")
    return total / max(labels.numel(), 1)


def select_class(offsets: Tensor, labels: Tensor) -> Tensor:
    """The four offsets of each region's class, ``(N, 4)``; the only four where all classes share a box."""
    if offsets.shape[1] == 4:
        return offsets
    return offsets.view(len(offsets), -1, 4)[torch.arange(len(labels), device=labels.device), labels]


def predicted_class(logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """The class whose box is passed to the next stage; never the background.

    Where ``labels`` says that a region is an object, it is the object's class, else the most probable one.
    """
    best = logits[:, 1:].argmax(1) + 1
    return best if labels is None else torch.where(labels > 0, labels, best)


def refine(stage: RegionHeads, boxes: list[Tensor], offsets: Tensor, labels: Tensor, sizes: Sizes) -> list[Tensor]:
    """The boxes ``(N, 4)`` moved by the offsets of a class and clipped to their images; no gradient flows back."""
    moved = stage.box_coder.decode_single(select_class(offsets.detach(), labels), torch.cat(boxes))
    return _by_image(moved, boxes, sizes)


def select(stage: RegionHeads, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
    """The detections of one image: score threshold, suppression within each class, the best ones.

    Args:
        stage: has the thresholds.
        boxes: ``(N, 4)`` shared by all classes, or ``(N, K + 1, 4)``.
        scores: ``(N, K + 1)``, the background first.
    """
    region, label = torch.where(scores[:, 1:] > stage.score_thresh)
    label = label + 1
    boxes, scores = boxes[region] if boxes.ndim == 2 else boxes[region, label], scores[region, label]
    if stage.convention == OPENMMLAB:
        keep = suppress(boxes, scores, label - 1, stage.nms_thresh)
    else:
        large = box_ops.remove_small_boxes(boxes, 1e-2)
        boxes, scores, label = boxes[large], scores[large], label[large]
        keep = batched_nms(boxes, scores, label, stage.nms_thresh)
    keep = keep[: stage.detections_per_img]
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": label[keep]}


def decode_boxes(stage: RegionHeads, boxes: Sequence[Tensor], offsets: Tensor, sizes: Sizes) -> list[Tensor]:
    """The boxes of each image moved and clipped, for :func:`select`: one for all classes or one for each."""
    moved = stage.box_coder.decode_single(offsets, torch.cat(list(boxes)))
    if moved.shape[1] != 4:
        moved = moved.view(len(moved), -1, 4)
    return _by_image(moved, boxes, sizes)


def _by_image(moved: Tensor, boxes: Sequence[Tensor], sizes: Sizes) -> list[Tensor]:
    """The moved boxes of all images, split as ``boxes`` are and clipped to each image."""
    parts = moved.split([len(b) for b in boxes])
    return [box_ops.clip_boxes_to_image(part, size) for part, size in zip(parts, sizes, strict=True)]
