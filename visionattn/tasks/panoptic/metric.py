"""Metrics of panoptic segmentation: COCO's panoptic quality over the whole data set, and precision of instances.

Shapes: H W image, K classes, n segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from visionattn.data.detection.masks import encode
from visionattn.errors import ConfigError
from visionattn.heads.panoptic.postprocess import Instances, PanopticPrediction
from visionattn.tasks.detection.average_precision import Result
from visionattn.tasks.detection.metric import CocoEvaluator, annotated, as_results
from visionattn.training.evaluator import MetricEvaluator

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

STEPS = 2**40
"""IoUs are added up as integer multiples of ``1 / STEPS``, so that neither the order of the images nor the number of
processes changes a digit; a sum is off by less than one step for each match."""

GROUPS = {"": None, "_th": True, "_st": False}
QUALITIES = ("PQ", "SQ", "RQ")


class PanopticQuality(Metric):
    """Panoptic quality (Kirillov et al. 2018, arXiv 1801.00868) by the rules of COCO's own evaluation.

    A predicted and a target segment of a class match if their IoU is above a half. Pixels of no target segment do not
    count in the union. Target crowds are neither matched nor missed. A predicted segment of which more than half lies
    in pixels of no segment or in crowds of its class is no mistake.

    It differs from COCO's code in one case that COCO's data do not have: where an image has several crowds of a class,
    that code looks at the last one only; here, as in the paper, all of them count. (torchmetrics' ``PanopticQuality``
    is another quantity: it knows no crowds and leaves pixels that the prediction leaves empty out of the union.)

    Args:
        num_classes: classes K.

    Attributes:
        latest: the counts of the last :meth:`compute`: IoU in multiples of ``1 / STEPS``, true positives, false
            positives, false negatives, int64 ``(4, K)``, on the CPU; None before.
        of_images: panoptic quality in percent of each image of the last :meth:`update`; NaN where it has no segment.
        things: of every class whether it is a thing; to be set before :meth:`compute`.
    """

    counts: Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.things: list[bool] = [True] * num_classes
        self.latest: Tensor | None = None
        self.of_images: list[float] = []
        self.add_state("counts", torch.zeros(4, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Sequence[Any], target: Sequence[Mapping[str, Tensor]]) -> None:
        """Add panoptic maps of any number of images.

        Args:
            preds: with ``ids`` int (H, W), 1..n and 0 for no segment, and ``labels`` (n,).
            target: the same as mappings, and ``crowd`` bool (n,).
        """
        self.of_images = []
        for predicted, segments in zip(preds, target, strict=True):
            counts = compare(
                predicted.ids,
                predicted.labels,
                segments["ids"],
                segments["labels"],
                segments["crowd"],
                self.num_classes,
            )
            self.counts += counts.to(self.counts.device)
            self.of_images.append(float(per_class(counts)[0].nanmean()))

    def compute(self) -> dict[str, Tensor]:
        self.latest = self.counts.detach().cpu().clone()
        return {name: torch.tensor(value) for name, value in figures(self.latest, self.things).items()}


class PanopticQualityEvaluator(MetricEvaluator):
    """``PQ``, ``SQ`` and ``RQ``, of things with ``_th`` and of stuff with ``_st``, in percent.

    Attributes:
        latest: the counts of the latest validation, int64 ``(4, K)``; None before. See :class:`PanopticQuality`.
    """

    latest: Tensor | None = None
    figures = tuple(f"{name}{suffix}" for name in QUALITIES for suffix in GROUPS)

    def __init__(self) -> None:
        super().__init__({}, shown=("PQ",))

    def setup(self, data: VisionData) -> None:
        things = data.class_info.things
        if things is None:
            raise ConfigError(
                f"{type(data).__name__} has no panoptic targets: use data=coco_panoptic, or score instances alone with "
                "task.panoptic=false task.instance=true task.monitor=val/mask_ap"
            )
        self.quality = PanopticQuality(data.num_classes)
        self.quality.things = list(things)
        self.metrics = MetricCollection({"panoptic_quality": self.quality})

    def update(self, prediction: Sequence[PanopticPrediction], batch: Mapping[str, Any]) -> None:
        self.quality.update([one.segments for one in prediction], batch["target"])

    def compute(self, data: VisionData) -> dict[str, float]:
        values = super().compute(data)
        self.latest = self.quality.latest
        return values


class CocoInstancesEvaluator(CocoEvaluator):
    """COCO's average precision and recall of the instances of a panoptic prediction, by their masks and boxes."""

    shown = ("mask_ap",)

    def __init__(self) -> None:
        super().__init__()
        self.metric.masks = True

    def setup(self, data: VisionData) -> None:
        """Read the annotation file, so that a fault of it is found before the first epoch.

        Raises:
            DataError: the file of instances does not go with the data.
        """
        super().setup(data)
        records: Any = annotated(data)
        records.ground_truth(records.annotations.image_ids.tolist(), masks=False)

    def update(self, prediction: Sequence[PanopticPrediction], batch: Mapping[str, Any]) -> None:
        results = [
            result
            for one, number in zip(prediction, batch["image_id"], strict=True)
            if one.objects is not None
            for result in instance_results(one.objects, number, self.category_ids)
        ]
        self.metric.update(results, batch["image_id"], batch["id"])


def instance_results(objects: Instances, image_id: int, category_ids: Sequence[int]) -> list[Result]:
    """Instances in COCO's submission format, masks as compressed run lengths, boxes around them."""
    runs = encode(objects.masks.to(torch.uint8).cpu().numpy())
    return as_results(image_id, category_ids, objects.boxes, objects.scores, objects.labels, runs)


def compare(
    predicted: Tensor,
    predicted_labels: Tensor,
    target: Tensor,
    target_labels: Tensor,
    crowd: Tensor,
    num_classes: int,
) -> Tensor:
    """The counts of one image, int64 ``(4, K)``; see :class:`PanopticQuality`.

    Args:
        predicted: int (H, W), 1..n, 0 for no segment.
        predicted_labels: int64 (n,).
        target: as ``predicted``.
        target_labels: int64 (n,).
        crowd: bool (n,), of the target segments.
        num_classes: classes K.
    """
    rows, columns = len(target_labels) + 1, len(predicted_labels) + 1
    pairs = target.reshape(-1).long() * columns + predicted.reshape(-1).long().to(target.device)
    shared = torch.bincount(pairs, minlength=rows * columns).reshape(rows, columns).cpu()
    predicted_labels, target_labels, crowd = predicted_labels.cpu(), target_labels.cpu(), crowd.cpu()
    common, areas = shared[1:, 1:], shared.sum(0)[1:]
    union = shared.sum(1)[1:, None] + areas - common - shared[0, 1:]
    same_class = target_labels[:, None] == predicted_labels
    match = same_class & ~crowd[:, None] & (2 * common > union)  # one at most per segment: targets are disjoint
    matched, hit = match.any(1), match.any(0)
    ignored = shared[0, 1:] + (common * (same_class & crowd[:, None])).sum(0)
    wrong = ~hit & (2 * ignored <= areas) & (areas > 0)
    counts = torch.zeros(4, num_classes, dtype=torch.int64)
    row, column = torch.nonzero(match, as_tuple=True)
    steps = (common[row, column].double() / union[row, column] * STEPS).round().long()
    counts[0].index_add_(0, target_labels[row], steps)
    counts[1] = torch.bincount(target_labels[row], minlength=num_classes)
    counts[2] = torch.bincount(predicted_labels[wrong], minlength=num_classes)
    counts[3] = torch.bincount(target_labels[~matched & ~crowd], minlength=num_classes)
    return counts


def per_class(counts: Tensor) -> Tensor:
    """PQ, SQ and RQ of every class in percent, float64 ``(3, K)``.

    They are NaN for a class without segments, target or predicted. SQ of a class without a match is 0, as in COCO's
    code.
    """
    iou, hits, wrong, missed = counts.double()
    iou = iou / STEPS
    total = hits + 0.5 * wrong + 0.5 * missed
    segmentation = torch.where(total > 0, iou / hits.clamp(min=1), torch.nan)
    return 100 * torch.stack([iou / total, segmentation, hits / total])


def figures(counts: Tensor, things: Sequence[bool]) -> dict[str, float]:
    """Means over the classes that have segments, in percent.

    Returns:
        ``PQ``, ``SQ`` and ``RQ`` of all classes, with ``_th`` of things and with ``_st`` of stuff; -1 where a group has
        no segment.
    """
    values, kinds = per_class(counts), torch.tensor(list(things))
    means = {}
    for suffix, kind in GROUPS.items():
        group = values if kind is None else values[:, kinds == kind]
        for name, row in zip(QUALITIES, group, strict=True):
            known = row[~row.isnan()]
            means[f"{name}{suffix}"] = float(known.mean()) if len(known) else -1.0
    return means
