"""Metrics of semantic segmentation: counts over the whole data set, in integers.

Shapes: H W image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from visionattn.data.segmentation.labels import IGNORE
from visionattn.training.evaluator import MetricEvaluator

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

Maps = Sequence[Tensor] | Tensor
"""Class maps ``(H, W)`` of some images: a list, or one tensor where they have one size."""


def figures(matrix: Tensor) -> dict[str, Tensor]:
    """The figures of a confusion matrix, in float64.

    Args:
        matrix: int64 ``(K, K)``, rows of target classes, columns of predicted ones.

    Returns:
        in percent ``mIoU``, ``mAcc`` and ``aAcc``, and per class ``IoU`` and ``Acc`` ``(K,)``. A class that neither
        occurs nor is predicted has no IoU, one that does not occur no accuracy (NaN); means leave those out.
    """
    matrix = matrix.double()
    right, target, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    iou, accuracy = 100 * right / (target + predicted - right), 100 * right / target
    return {
        "mIoU": iou.nanmean(),
        "mAcc": accuracy.nanmean(),
        "aAcc": 100 * right.sum() / matrix.sum(),
        "IoU": iou,
        "Acc": accuracy,
    }


class DatasetIoU(MulticlassConfusionMatrix):
    """Mean intersection over union as ADE20K, Cityscapes and Pascal VOC define it.

    Intersections and unions are summed over the whole data set before they are divided. (torchmetrics'
    ``segmentation.MeanIoU`` averages the IoU of single images: another quantity.) The counts are integers, summed over
    the processes, so that neither their number nor the order of the images changes a digit.

    Attributes:
        latest: the matrix of the last :meth:`compute`, int64 ``(K, K)``, on the CPU; None before.
    """

    def __init__(self, num_classes: int):
        super().__init__(num_classes=num_classes, ignore_index=IGNORE, validate_args=False)
        self.latest: Tensor | None = None

    def update(self, preds: Maps, target: Maps) -> None:  # type: ignore[override]
        """Add class maps ``(H, W)``, predicted and target, of any number of images."""
        for predicted, classes in zip(preds, target, strict=True):
            super().update(predicted[None], classes[None])

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        self.latest = self.confmat.detach().cpu().clone()
        values = figures(self.latest)
        return {name: values[name].float() for name in ("mIoU", "mAcc", "aAcc")}


class BoundaryIoU(Metric):
    """Boundary IoU (Cheng et al. 2021, arXiv 2103.16562) per class, summed over the data set.

    Only the pixels of a mask that lie within a distance of its edge are compared; the edge of the image counts as one.
    The distance is a share of the image's diagonal, at least one pixel.

    Args:
        num_classes: classes K.
        ratio: share of the diagonal; 0.02 in the paper.

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

    def update(self, preds: Maps, target: Maps) -> None:
        """Add class maps ``(H, W)``, predicted and target, of any number of images."""
        for predicted, classes in zip(preds, target, strict=True):
            counted = classes != IGNORE
            height, width = classes.shape
            distance = max(1, round(self.ratio * (height**2 + width**2) ** 0.5))
            for label in torch.unique(torch.cat([predicted.unique(), classes[counted].unique()])).tolist():
                a, b = (_edge_band(map_ == label, distance) & counted for map_ in (predicted, classes))
                self.intersection[label] += (a & b).sum()
                self.union[label] += (a | b).sum()

    def compute(self) -> dict[str, Tensor]:
        self.latest = torch.stack([self.intersection, self.union]).detach().cpu().clone()
        return {"boundary_mIoU": per_class(self.latest).nanmean().float()}


class SemanticEvaluator(MetricEvaluator):
    """``mIoU``, ``mAcc`` and ``aAcc`` in percent over the data set; see :class:`DatasetIoU`.

    Attributes:
        latest: the confusion matrix of the latest validation, int64 ``(K, K)``; None before.
    """

    latest: Tensor | None = None
    figures = ("mIoU", "mAcc", "aAcc")

    def __init__(self) -> None:
        super().__init__({}, shown=self.figures)

    def setup(self, data: VisionData) -> None:
        self._counts = DatasetIoU(data.num_classes)
        self.metrics = MetricCollection({"dataset": self._counts})

    def compute(self, data: VisionData) -> dict[str, float]:
        values = super().compute(data)
        self.latest = self._counts.latest
        return values


class BoundaryIoUEvaluator(MetricEvaluator):
    """``boundary_mIoU`` in percent over the data set; see :class:`BoundaryIoU`. It costs time.

    Args:
        ratio: share of the image's diagonal that the boundary is wide.

    Attributes:
        latest: intersections and unions of the latest validation, int64 ``(2, K)``; None before.
    """

    latest: Tensor | None = None
    figures = ("boundary_mIoU",)

    def __init__(self, ratio: float = 0.02) -> None:
        super().__init__({}, shown=self.figures)
        self.ratio = ratio

    def setup(self, data: VisionData) -> None:
        self._counts = BoundaryIoU(data.num_classes, self.ratio)
        self.metrics = MetricCollection({"boundary": self._counts})

    def compute(self, data: VisionData) -> dict[str, float]:
        values = super().compute(data)
        self.latest = self._counts.latest
        return values


def per_class(counts: Tensor) -> Tensor:
    """IoU in percent, float64 ``(K,)``, from ``BoundaryIoU.latest``; NaN for classes without a boundary."""
    return 100 * counts[0].double() / counts[1].double()


def _edge_band(mask: Tensor, distance: int) -> Tensor:
    """The pixels of a mask at a distance to its outside, by the larger coordinate, of ``distance`` at most."""
    outside = F.pad((~mask).float()[None], [distance] * 4, value=1.0)
    near: Any = F.max_pool2d(outside, 2 * distance + 1, stride=1)[0]
    return mask & (near > 0)
