"""COCO's average precision and recall: collected on all processes, computed once, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from visionattn.data.detection.masks import encode
from visionattn.errors import ConfigError
from visionattn.heads.detection.detector import Paste
from visionattn.heads.detection.paste_masks import paste_masks
from visionattn.tasks.detection.average_precision import NAMES, Result, coco_curves
from visionattn.tasks.detection.federated import LVIS_NAMES, is_federated, lvis_figures
from visionattn.training.distributed import broadcast_from_first, gather_to_first
from visionattn.training.evaluator import Evaluator

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

_PASTED = 16
KINDS = {"bbox": "box", "segm": "mask"}


def as_results(
    image_id: int, categories: Sequence[int], boxes: Tensor, scores: Tensor, labels: Tensor, masks: Sequence[Any] | None
) -> list[Result]:
    """The detections of one image in COCO's submission format.

    Args:
        image_id: number of the image.
        categories: label -> category id.
        boxes: (n, 4) as x1 y1 x2 y2 in pixels.
        scores: (n,).
        labels: (n,).
        masks: n compressed run lengths; None: there are none.
    """
    boxes = boxes.float().cpu()
    corners = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).double().tolist()
    results: list[Result] = [
        {"image_id": image_id, "category_id": categories[label], "bbox": box, "score": score}
        for box, score, label in zip(corners, scores.float().tolist(), labels.tolist(), strict=True)
    ]
    if masks is not None:
        results = [result | {"segmentation": mask} for result, mask in zip(results, masks, strict=True)]
    return results


@dataclass
class CocoScores:
    """The results of one validation, on the first process.

    Attributes:
        ids: names of the images scored; image_ids: their numbers in the annotation file.
        results: every detection.
        figures: kind (``box``, ``mask``) -> figure -> value.
        per_class: kind -> average precision of each class.
        curves: kind -> precision at each threshold of the IoU and each recall, the mean over the classes.
    """

    ids: list[str] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    per_class: dict[str, np.ndarray] = field(default_factory=dict)
    curves: dict[str, np.ndarray] = field(default_factory=dict)


@runtime_checkable
class AnnotatedRecords(Protocol):
    """Records with an annotation file in COCO's format."""

    def ground_truth(self, image_ids: Sequence[int], masks: bool) -> dict[str, Any]:
        """Return the contents of the annotation file for some images."""
        ...


class CocoMetric:
    """Detections of a validation, scored against the annotation file once all are there.

    Images are never read again: the targets come from the file, the detections from the model. The first process
    computes; the others get its figures.

    Args:
        masks: score masks too.

    Attributes:
        latest: filled by :meth:`compute`; its ids are on every process, the rest on the first one only.
    """

    def __init__(self, masks: bool):
        self.masks = masks
        self.latest = CocoScores()
        self.reset()

    def reset(self) -> None:
        """Forget what was collected; ``latest`` stays."""
        self._ids: list[str] = []
        self._image_ids: list[int] = []
        self._results: list[Result] = []

    def update(self, results: Sequence[Result], image_ids: Sequence[int], ids: Sequence[str]) -> None:
        """Add the detections of some images; images without detections count too."""
        self._results += results
        self._image_ids += image_ids
        self._ids += ids

    def compute(self, records: Any) -> dict[str, float]:
        """Return ``box_ap``, ``box_ap50``, ..., ``mask_ar_large`` in percent, on every process.

        A figure is -1 where there is no object to detect.

        Args:
            records: what gives ``ground_truth(image_ids, masks)``.
        """
        shards = gather_to_first((self._ids, self._image_ids, self._results, self.masks))
        scores, figures = CocoScores(), dict[str, float]()
        if shards is not None:
            scores = _joined([shard[:3] for shard in shards])
            if scores.image_ids:
                self._score(scores, records, any(masks for *_, masks in shards))
            for name, values in scores.figures.items():
                figures |= {f"{name}_{figure}": percent(value) for figure, value in values.items()}
        figures, scores.ids = broadcast_from_first((figures, scores.ids))
        self.latest = scores
        return figures

    @staticmethod
    def _score(scores: CocoScores, records: Any, masks: bool) -> None:
        targets = records.ground_truth(scores.image_ids, masks)
        for kind, name in KINDS.items():
            if kind == "bbox" or masks:
                scores.figures[name], scores.per_class[name], curve = figures_of(targets, scores.results, kind)
                if curve is not None:
                    scores.curves[name] = curve


def figures_of(
    targets: dict[str, Any], results: Sequence[Result], kind: str
) -> tuple[dict[str, float], np.ndarray, np.ndarray | None]:
    """Figures by name, the average precision of each class, and COCO's curve: LVIS's where the annotations are LVIS's.

    Args: as for :func:`visionattn.tasks.detection.average_precision.coco_curves`.
    """
    if is_federated(targets):
        return *lvis_figures(targets, results, kind), None
    values, classes, curve = coco_curves(targets, results, kind)
    return dict(zip(NAMES, values.tolist(), strict=True)), classes, curve


class CocoEvaluator(Evaluator):
    """COCO's average precision and recall of boxes and, if the detections have masks, of masks; LVIS's on its data."""

    shown: tuple[str, ...] = ("box_ap", "mask_ap")
    figures = tuple(f"{kind}_{name}" for kind in KINDS.values() for name in (*NAMES, *LVIS_NAMES))

    def __init__(self) -> None:
        self.metric = CocoMetric(masks=False)
        self.paste: Paste = paste_masks
        self.category_ids: Sequence[int] = ()

    def expect(self, masks: bool, paste: Paste = paste_masks) -> None:
        """Say whether detections will have masks, without which there are no figures of masks, and what pastes them."""
        self.paste = paste
        if not masks:
            self.figures = tuple(name for name in self.figures if not name.startswith("mask_"))

    @property
    def latest(self) -> CocoScores:
        """The results of the latest validation."""
        return self.metric.latest

    def setup(self, data: VisionData) -> None:
        ids = data.class_info.ids
        if ids is None:
            raise ConfigError(f"{type(data).__name__} has no objects in COCO's format to score: take data=coco")
        self.category_ids = ids

    def update(self, prediction: Any, batch: Mapping[str, Any]) -> None:
        """Add detections at the original sizes of their images."""
        self.metric.masks |= any("masks" in one for one in prediction)
        results = detection_results(prediction, batch["image_id"], batch["original"], self.category_ids, self.paste)
        self.metric.update(results, batch["image_id"], batch["id"])

    def compute(self, data: VisionData) -> dict[str, float]:
        return self.metric.compute(annotated(data))

    def reset(self) -> None:
        self.metric.reset()


def annotated(data: VisionData) -> AnnotatedRecords:
    """The records of validation with their annotation file.

    Raises:
        ConfigError: the data have none.
    """
    records = data.records(data.evaluation_split)
    if not isinstance(records, AnnotatedRecords):
        raise ConfigError(f"{type(data).__name__} has no annotation file in COCO's format: take data=coco")
    return records


def detection_results(
    detections: Sequence[Mapping[str, Tensor]],
    image_ids: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    category_ids: Sequence[int],
    paste: Paste = paste_masks,
) -> list[Result]:
    """Detections in COCO's submission format, masks as compressed run lengths.

    Args:
        detections: per image ``boxes``, ``scores``, ``labels`` and, of a head with masks, ``masks``.
        image_ids: numbers of the images.
        sizes: (height, width) of the images.
        category_ids: label -> category id.
        paste: makes masks of whole images, see :class:`visionattn.heads.detection.Detector`.
    """
    results = list[Result]()
    for one, image_id, size in zip(detections, image_ids, sizes, strict=True):
        boxes = one["boxes"].float().cpu()
        runs = _run_lengths(one["masks"], boxes, size, paste) if "masks" in one else None
        results += as_results(image_id, category_ids, boxes, one["scores"], one["labels"], runs)
    return results


def _run_lengths(masks: Tensor, boxes: Tensor, size: tuple[int, int], paste: Paste) -> list[dict[str, Any]]:
    """Masks as compressed run lengths; only some are pasted into the image at once, which may be large."""
    return [
        runs
        for start in range(0, len(boxes), _PASTED)
        for runs in encode(paste(masks[start : start + _PASTED], boxes[start : start + _PASTED], size).numpy())
    ]


def percent(value: float) -> float:
    """A share in percent; -1, COCO's word for no object, stays."""
    return 100 * float(value) if value >= 0 else -1.0


def _joined(shards: list[Any]) -> CocoScores:
    """The shards of all processes in the order of the image numbers, the same for any number of processes."""
    images = sorted((number, name) for ids, numbers, _ in shards for name, number in zip(ids, numbers, strict=True))
    results = [result for _, _, shard in shards for result in shard]
    results.sort(key=lambda result: result["image_id"])
    return CocoScores([name for _, name in images], [number for number, _ in images], results)
