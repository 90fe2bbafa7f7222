"""How panoptic segmentation is scored: COCO's panoptic quality, counted over the whole data set.

Shapes: H W picture, K classes, n segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

STEPS = 2**40
"""IoUs are added up as whole numbers of this many parts, so that neither the order of the pictures nor the number of
processes changes a digit; a sum is off by less than a part for each match."""

GROUPS = {"": None, "_th": True, "_st": False}
QUALITIES = ("PQ", "SQ", "RQ")


class PanopticQuality(Metric):
    """Kirillov et al. 2018, *Panoptic Segmentation*, arXiv 1801.00868, by the rules of COCO's own evaluation: a
    predicted and a true segment of a class match where their IoU is above a half; pixels of no true segment do not
    count in the union; true crowds are neither matched nor missed, and a predicted segment of which more than half lies
    in pixels of no segment or in crowds of its class is no mistake.

    Differs from COCO's code in one case that COCO's data do not have: where a picture has several crowds of a class,
    that code looks at the last one only; here, as in the paper, all of them count. (torchmetrics' ``PanopticQuality``
    is another quantity: it knows no crowds and leaves pixels that the prediction leaves empty out of the union.)

    Args:
        num_classes: classes K.
    Attributes:
        latest: the counts of the last :meth:`compute`: IoU in parts of ``1 / STEPS``, true positives, false positives,
            false negatives, int64 ``(4, K)``, on the CPU; None before.
        things: of every class whether it is a thing; to be set before :meth:`compute`.
    """

    counts: Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.things: list[bool] = [True] * num_classes
        self.latest: Tensor | None = None
        self.add_state("counts", torch.zeros(4, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Sequence[Any], target: Sequence[Mapping[str, Tensor]]) -> None:
        """Panoptic maps of any number of pictures.

        Args:
            preds: with ``ids`` int (H, W), 1..n and 0 for no segment, and ``labels`` (n,).
            target: the same as mappings, and ``crowd`` bool (n,).
        """
        for said, true in zip(preds, target, strict=True):
            self.counts += compare(
                said.ids, said.labels, true["ids"], true["labels"], true["crowd"], self.num_classes
            ).to(self.counts.device)

    def compute(self) -> dict[str, Tensor]:
        self.latest = self.counts.detach().cpu().clone()
        return {name: torch.tensor(value) for name, value in figures(self.latest, self.things).items()}


def compare(
    said: Tensor, said_labels: Tensor, true: Tensor, true_labels: Tensor, crowd: Tensor, num_classes: int
) -> Tensor:
    """The counts of one picture, int64 ``(4, K)``; see :class:`PanopticQuality`.

    Args:
        said, true: int (H, W), 1..n, 0 for no segment.
        said_labels, true_labels: int64 (n,).
        crowd: bool (n,), of the true ones.
    """
    rows, columns = len(true_labels) + 1, len(said_labels) + 1
    pairs = true.reshape(-1).long() * columns + said.reshape(-1).long().to(true.device)
    shared = torch.bincount(pairs, minlength=rows * columns).reshape(rows, columns).cpu()
    said_labels, true_labels, crowd = said_labels.cpu(), true_labels.cpu(), crowd.cpu()
    common, areas = shared[1:, 1:], shared.sum(0)[1:]
    union = shared.sum(1)[1:, None] + areas - common - shared[0, 1:]
    alike = true_labels[:, None] == said_labels
    match = alike & ~crowd[:, None] & (2 * common > union)  # of each segment one at most, since true ones are disjoint
    found, hit = match.any(1), match.any(0)
    ignored = shared[0, 1:] + (common * (alike & crowd[:, None])).sum(0)
    wrong = ~hit & (2 * ignored <= areas) & (areas > 0)
    counts = torch.zeros(4, num_classes, dtype=torch.int64)
    row, column = torch.nonzero(match, as_tuple=True)
    parts = (common[row, column].double() / union[row, column] * STEPS).round().long()
    counts[0].index_add_(0, true_labels[row], parts)
    counts[1] = torch.bincount(true_labels[row], minlength=num_classes)
    counts[2] = torch.bincount(said_labels[wrong], minlength=num_classes)
    counts[3] = torch.bincount(true_labels[~found & ~crowd], minlength=num_classes)
    return counts


def per_class(counts: Tensor) -> Tensor:
    """PQ, SQ and RQ of every class in percent, float64 ``(3, K)``; NaN for a class without segments, true or
    predicted. SQ of a class without a match is 0, as in COCO's code.
    """
    iou, hits, wrong, missed = counts.double()
    iou = iou / STEPS
    total = hits + 0.5 * wrong + 0.5 * missed
    segmentation = torch.where(total > 0, iou / hits.clamp(min=1), torch.nan)
    return 100 * torch.stack([iou / total, segmentation, hits / total])


def figures(counts: Tensor, things: Sequence[bool]) -> dict[str, float]:
    """Means over the classes that have segments, in percent: ``PQ``, ``SQ`` and ``RQ`` of all, with ``_th`` of things
    and with ``_st`` of stuff; -1 where a group has no segment.
    """
    values, kinds = per_class(counts), torch.tensor(list(things))
    found = {}
    for suffix, kind in GROUPS.items():
        group = values if kind is None else values[:, kinds == kind]
        for name, row in zip(QUALITIES, group, strict=True):
            known = row[~row.isnan()]
            found[f"{name}{suffix}"] = float(known.mean()) if len(known) else -1.0
    return found
