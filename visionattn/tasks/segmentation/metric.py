"""How segmentation is scored: one confusion matrix of the whole data set, in integers.

Shapes: H W picture, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from visionattn.data.segmentation.labels import IGNORE


def figures(matrix: Tensor) -> dict[str, Tensor]:
    """What a confusion matrix says, in float64.

    Args:
        matrix: int64 ``(K, K)``, rows true, columns predicted.
    Returns:
        in percent ``mIoU``, ``mAcc`` and ``aAcc``, and per class ``IoU`` and ``Acc`` ``(K,)``. A class that neither
        occurs nor is predicted has no IoU, one that does not occur no accuracy (NaN); means leave those out.
    """
    matrix = matrix.double()
    right, true, said = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    iou, accuracy = 100 * right / (true + said - right), 100 * right / true
    return {
        "mIoU": iou.nanmean(),
        "mAcc": accuracy.nanmean(),
        "aAcc": 100 * right.sum() / matrix.sum(),
        "IoU": iou,
        "Acc": accuracy,
    }


class DatasetIoU(MulticlassConfusionMatrix):
    """Mean intersection over union as ADE20K, Cityscapes and Pascal VOC define it: intersections and unions are summed
    over the whole data set before they are divided.

    (torchmetrics' ``segmentation.MeanIoU`` averages the IoU of single images: another quantity.) The counts are
    integers, summed over the processes, so that neither their number nor the order of the images changes a digit.

    Attributes:
        latest: the matrix of the last :meth:`compute`, int64 ``(K, K)``, on the CPU; None before.
    """

    def __init__(self, num_classes: int):
        super().__init__(num_classes=num_classes, ignore_index=IGNORE, validate_args=False)
        self.latest: Tensor | None = None

    def update(self, preds: Sequence[Tensor], target: Sequence[Tensor]) -> None:  # type: ignore[override]
        """Class maps ``(H, W)``, predicted and true, of any number of pictures."""
        for said, true in zip(preds, target, strict=True):
            super().update(said[None], true[None])

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        self.latest = self.confmat.detach().cpu().clone()
        found = figures(self.latest)
        return {name: found[name].float() for name in ("mIoU", "mAcc", "aAcc")}


class BoundaryIoU(Metric):
    """Cheng et al. 2021, *Boundary IoU*, arXiv 2103.16562, per class and summed over the data set.

    Compared are only the pixels of a mask that lie within a distance of its edge; the picture's edge counts as one.
    The distance is a share of the picture's diagonal, at least one pixel.

    Args:
        num_classes: classes K.
        ratio: that share; 0.02 in the paper.
    Attributes:
        latest: int64 ``(2, K)``, intersections and unions of the last :meth:`compute`; None before.
    """

    intersection: Tensor
    union: Tensor

    def __init__(self, num_classes: int, ratio: float = 0.02):
        super().__init__()
        self.num_classes, self.ratio = num_classes, ratio
        self.latest: Tensor | None = None
        for name in ("intersection", "union"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Sequence[Tensor], target: Sequence[Tensor]) -> None:
        """As :meth:`DatasetIoU.update`."""
        for said, true in zip(preds, target, strict=True):
            counted = true != IGNORE
            height, width = true.shape
            distance = max(1, round(self.ratio * (height**2 + width**2) ** 0.5))
            for label in torch.unique(torch.cat([said.unique(), true[counted].unique()])).tolist():
                a, b = (_edge_band(map_ == label, distance) & counted for map_ in (said, true))
                self.intersection[label] += (a & b).sum()
                self.union[label] += (a | b).sum()

    def compute(self) -> dict[str, Tensor]:
        self.latest = torch.stack([self.intersection, self.union]).detach().cpu().clone()
        return {"boundary_mIoU": per_class(self.latest).nanmean().float()}


def per_class(counts: Tensor) -> Tensor:
    """Percent, float64 ``(K,)``, from ``BoundaryIoU.latest``; NaN for classes without a boundary."""
    return 100 * counts[0].double() / counts[1].double()


def _edge_band(mask: Tensor, distance: int) -> Tensor:
    """The pixels of a mask that are no farther than ``distance`` (in the larger of both coordinates) from outside."""
    outside = F.pad((~mask).float()[None], [distance] * 4, value=1.0)
    near: Any = F.max_pool2d(outside, 2 * distance + 1, stride=1)[0]
    return mask & (near > 0)
