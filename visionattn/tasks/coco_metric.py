"""COCO's figures: collected on all processes, computed once, by faster-coco-eval."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from torch import distributed as dist

from visionattn.tasks.guard import several_processes

NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
KINDS = {"bbox": "box", "segm": "mask"}
Result = dict[str, Any]
"""One detection in COCO's submission format: image_id, category_id, bbox [x, y, width, height], score, segmentation."""


def coco_figures(truth: dict[str, Any], results: Sequence[Result], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """pycocotools' twelve figures, and the average precision of each category in the order of their ids.

    Masks are scored by themselves: their areas decide what is small, as in detectron2, not those of their boxes.

    Args:
        truth: contents of an annotation file, of the images to score and no others.
        results: detections.
        kind: ``bbox`` or ``segm``.
    Returns:
        float64 (12,) and (K,) between 0 and 1; -1 where there is nothing to find
    """
    kept = ("image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation")
    stated = COCO(copy.deepcopy(truth))
    found = stated.loadRes([{name: result[name] for name in kept} for result in results])
    evaluation = COCOeval_faster(stated, found, kind, print_function=_nowhere)
    evaluation.params.imgIds = sorted(image["id"] for image in truth["images"])
    evaluation.run()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    valid = precision > -1
    sums = np.where(valid, precision, 0).sum((0, 1))
    counts = valid.sum((0, 1))
    return np.asarray(evaluation.stats[:12], np.float64), np.where(counts > 0, sums / np.maximum(counts, 1), -1.0)


def _nowhere(*_: Any) -> None:
    """faster-coco-eval's messages go nowhere."""


@dataclass
class CocoScores:
    """What one validation found, on the first process.

    Attributes:
        ids: names of the images scored; image_ids: their numbers in the annotation file.
        results: every detection.
        figures: kind (``box``, ``mask``) -> the twelve figures.
        per_class: kind -> average precision of each class.
    """

    ids: list[str] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    figures: dict[str, np.ndarray] = field(default_factory=dict)
    per_class: dict[str, np.ndarray] = field(default_factory=dict)


class CocoMetric:
    """Collects detections and scores them against the annotation file when all are there.

    Pictures are never read again: the truth comes from the file, the detections from the model. The first process
    computes; the others get its figures. Attributes: ``latest``, filled by :meth:`compute`; its ids are on every
    process, the rest on the first one only.

    Args:
        masks: score masks too.
    """

    def __init__(self, masks: bool):
        self.kinds = ("bbox", "segm") if masks else ("bbox",)
        self.latest = CocoScores()
        self.reset()

    def reset(self) -> None:
        """Forgets what was collected; ``latest`` stays."""
        self._ids: list[str] = []
        self._image_ids: list[int] = []
        self._results: list[Result] = []

    def update(self, results: Sequence[Result], image_ids: Sequence[int], ids: Sequence[str]) -> None:
        """Adds the detections of some images; images without detections count too."""
        self._results += results
        self._image_ids += image_ids
        self._ids += ids

    def compute(self, records: Any) -> dict[str, float]:
        """``box_ap``, ``box_ap50``, ..., ``mask_ar_large`` in percent, on every process.

        Args:
            records: gives ``ground_truth(image_ids, masks)``.
        """
        parts = _to_first((self._ids, self._image_ids, self._results))
        scores, figures = CocoScores(), dict[str, float]()
        if parts is not None:
            scores = _joined(parts)
            if scores.image_ids:
                truth = records.ground_truth(scores.image_ids, "segm" in self.kinds)
                for kind in self.kinds:
                    name = KINDS[kind]
                    scores.figures[name], scores.per_class[name] = coco_figures(truth, scores.results, kind)
            for name, values in scores.figures.items():
                figures |= {f"{name}_{figure}": 100 * float(v) for figure, v in zip(NAMES, values, strict=True)}
        figures, scores.ids = _from_first((figures, scores.ids))
        self.latest = scores
        return figures


def _joined(parts: list[Any]) -> CocoScores:
    """In the order of the image numbers, which is no process' affair."""
    images = sorted((number, name) for ids, numbers, _ in parts for name, number in zip(ids, numbers, strict=True))
    results = [result for _, _, found in parts for result in found]
    results.sort(key=lambda result: result["image_id"])
    return CocoScores([name for _, name in images], [number for number, _ in images], results)


def _to_first(part: Any) -> list[Any] | None:
    if not several_processes():
        return [part]
    parts: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(part, parts)
    return parts


def _from_first(value: Any) -> Any:
    if not several_processes():
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]
