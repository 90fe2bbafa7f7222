"""From the queries' predictions to panoptic maps and instances at the size of the original image.

Shapes: Q queries, K classes, h w the network's masks, H W original image, n segments, N instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from visionattn.heads.segmentation.layers import resize

Size = tuple[int, int]
_CHUNK = 16


@dataclass
class Frame:
    """The part of the network's input that an image covers.

    Attributes:
        padded: size of the network's input.
        seen: size of the image in its upper left corner.
        original: the image's own size.
    """

    padded: Size
    seen: Size
    original: Size

    def __call__(self, masks: Tensor) -> Tensor:
        """Logits ``(n, h, w)`` to ``(n, H, W)``, by way of the network's input size, as published."""
        large = resize(masks[None].float(), self.padded)[..., : self.seen[0], : self.seen[1]]
        return resize(large, self.original)[0]


@dataclass
class Segments:
    """A panoptic map.

    Attributes:
        ids: int32 (H, W), 1 for the first segment and so on, 0 for none.
        labels: int64 (n,).
        scores: float (n,), the class's probability; of stuff in several pieces, that of the first.
    """

    ids: Tensor
    labels: Tensor
    scores: Tensor


def panoptic_map(
    classes: Tensor, masks: Tensor, frame: Frame, things: Sequence[bool], score: float = 0.8, overlap: float = 0.8
) -> Segments:
    """The segment of every pixel.

    Cheng et al. 2021, arXiv 2107.06278, section 3.4, with Mask2Former's thresholds. Of the queries whose class is
    certain enough, each pixel takes the one with the largest product of class and mask probability, if its mask covers
    the pixel. Masks that lose too much to others are left out. Stuff of a class is one segment. Only the masks that can
    win are enlarged; the published code enlarges all and chooses then, with the same result.

    Args:
        classes: logits ``(Q, K + 1)``.
        masks: logits ``(Q, h, w)``.
        frame: the image in the network's input.
        things: of every class, whether it is a thing.
        score: the lowest class probability of a segment.
        overlap: the smallest share of its mask that a query must keep.
    """
    chances, labels = classes.float().softmax(-1).max(-1)
    kept = torch.nonzero((labels < len(things)) & (chances > score))[:, 0]
    ids = torch.zeros(frame.original, dtype=torch.int32, device=masks.device)
    segment_labels, segment_scores, stuff = list[int](), list[float](), dict[int, int]()
    if len(kept):
        sure = frame(masks[kept]).sigmoid_()
        inside = sure >= 0.5
        winner = (sure * chances[kept, None, None]).argmax(0)
        won = torch.bincount(winner.reshape(-1), minlength=len(kept)).tolist()
        whole = inside.flatten(1).sum(1).tolist()
        for i, (query, label) in enumerate(zip(kept.tolist(), labels[kept].tolist(), strict=True)):
            if not won[i] or not whole[i] or won[i] / whole[i] < overlap:
                continue
            mask = (winner == i) & inside[i]
            if not mask.any():
                continue
            if things[label] or label not in stuff:
                segment_labels.append(label)
                segment_scores.append(float(chances[query]))
                stuff.setdefault(label, len(segment_labels))
            ids[mask] = len(segment_labels) if things[label] else stuff[label]
    return Segments(ids, torch.tensor(segment_labels, dtype=torch.int64), torch.tensor(segment_scores))


@dataclass
class Instances:
    """Objects, the highest score first.

    Attributes:
        boxes: float (N, 4) as x1 y1 x2 y2, around the masks.
        labels: int64 (N,).
        scores: float (N,).
        masks: bool (N, H, W).
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor


@dataclass
class PanopticPrediction:
    """The prediction for one image at its original size.

    Attributes:
        segments: the panoptic map; None where it was not asked for.
        objects: the instances; None where they were not asked for.
    """

    segments: Segments | None
    objects: Instances | None


def instances(classes: Tensor, masks: Tensor, frame: Frame, things: Sequence[bool], most: int = 100) -> Instances:
    """The most probable pairs of query and class, things only.

    The score is the class's probability times the mean probability inside the mask. Masks without a pixel are left out
    (the published code gives them the score 0).

    Args:
        classes: logits ``(Q, K + 1)``.
        masks: logits ``(Q, h, w)``.
        frame: the image in the network's input.
        things: of every class, whether it is a thing.
        most: number of pairs that are considered, stuff included, as published.
    """
    chances = classes.float().softmax(-1)[:, : len(things)]
    best = chances.reshape(-1).topk(min(most, chances.numel()))
    queries, labels = best.indices // len(things), best.indices % len(things)
    wanted = torch.tensor(list(things), device=masks.device)[labels]
    queries, labels, scores = queries[wanted], labels[wanted], best.values[wanted]
    used, which = torch.unique(queries, return_inverse=True)
    shapes, means = list[Tensor](), list[Tensor]()
    for first in range(0, len(used), _CHUNK):
        logits = frame(masks[used[first : first + _CHUNK]])
        inside = logits > 0
        shapes.append(inside)
        means.append((logits.sigmoid() * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1))
    if not shapes:
        nothing = torch.zeros(0, *frame.original, dtype=torch.bool)
        return Instances(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), nothing)
    scores = scores * torch.cat(means)[which]
    full = torch.cat(shapes)[which]
    there = full.flatten(1).any(1)
    order = torch.argsort(scores[there], descending=True, stable=True)
    full, labels, scores = full[there][order], labels[there][order], scores[there][order]
    boxes = masks_to_boxes(full) if len(full) else torch.zeros(0, 4)
    return Instances(boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0]), labels, scores, full)
