"""COCO's figures: collected on all processes, computed once, by faster-coco-eval."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torch import distributed as dist

from visionattn.training.nonfinite import several_processes

NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
KINDS = {"bbox": "box", "segm": "mask"}
Result = dict[str, Any]
"""One detection in COCO's submission format: image_id, category_id, bbox [x, y, width, height], score, segmentation."""


def as_results(
    image_id: int, categories: Sequence[int], boxes: Tensor, scores: Tensor, labels: Tensor, masks: Sequence[Any] | None
) -> list[Result]:
    """What was found in one picture, in COCO's submission format.

    Args:
        categories: label -> category id.
        boxes: (n, 4) as x1 y1 x2 y2 in pixels. scores, labels: (n,).
        masks: n compressed run lengths; None: there are none.
    """
    boxes = boxes.float().cpu()
    corners = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).double().tolist()
    lines: list[Result] = [
        {"image_id": image_id, "category_id": categories[label], "bbox": box, "score": score}
        for box, score, label in zip(corners, scores.float().tolist(), labels.tolist(), strict=True)
    ]
    if masks is not None:
        lines = [line | {"segmentation": mask} for line, mask in zip(lines, masks, strict=True)]
    return lines


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Python's garbage collector walks over all results again and again while the evaluation makes its lists, which
    makes no garbage; that doubles its time.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@_collector_paused()
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
    stated = COCO({name: [dict(entry) for entry in truth[name]] for name in ("images", "annotations", "categories")})
    found = stated.loadRes([{name: result[name] for name in kept} for result in results])
    evaluation = COCOeval_faster(stated, found, kind, print_function=_nowhere)
    evaluation.params.imgIds = sorted(image["id"] for image in truth["images"])
    usual = evaluation.params.recThrs
    second = _second_hits(truth, evaluation.params)
    extra, which = np.unique(second, return_inverse=True)
    evaluation.params.recThrs = np.concatenate([usual, extra])
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = (np.ascontiguousarray(evaluation.eval[name]) for name in ("precision", "recall"))
    precision = _as_pycocotools(precision, len(usual), which.reshape(second.shape))
    classes = np.array([_mean(select_class) for select_class in precision[:, :, :, 0, -1].transpose(2, 0, 1)])
    return _twelve(precision, recall), classes


def _second_hits(truth: dict[str, Any], params: Any) -> np.ndarray:
    """A recall, for each class and range of areas (K, A), that only a second right detection reaches, a power of two
    so that there are few of them; 2 where there is
    no second object.
    """
    objects = [a for a in truth["annotations"] if not a.get("iscrowd")]
    places = {number: place for place, number in enumerate(sorted(c["id"] for c in truth["categories"]))}
    select_class = np.array([places[a["category_id"]] for a in objects], np.int64)
    areas = np.array([a["area"] for a in objects], np.float64)
    counts = np.zeros((len(places), len(params.areaRng)))
    for place, (low, high) in enumerate(params.areaRng):
        inside = select_class[(areas >= low) & (areas <= high)]
        counts[:, place] = np.bincount(inside, minlength=len(places))
    return np.where(counts > 1, 2.0 ** np.floor(np.log2(2.0 / np.maximum(counts, 1))), 2.0)


def _as_pycocotools(precision: np.ndarray, usual: int, which: np.ndarray) -> np.ndarray:
    """pycocotools divides by the number of detections plus 2.2e-16. That matters where one right detection stands
    alone at the top of the list: its precision is 1 minus 2.2e-16. A second right one in a row makes it 1.

    Args:
        precision: with the recalls of :func:`_second_hits` behind the ``usual`` ones.
        usual: their number.
        which: place of its recall among the others, for each class and range of areas, int (K, A).
    """
    classes, areas = np.indices(which.shape)
    reached = precision[:, usual + which, classes, areas] == 1.0  # (thresholds, K, A, most)
    precision = np.ascontiguousarray(precision[:, :usual])
    precision[(precision == 1.0) & ~reached[:, None]] = 1.0 / (1.0 + np.spacing(1.0))
    return precision


def _twelve(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """pycocotools' summary, in its order of summation, so that not even the last bit differs.

    Args:
        precision: (thresholds from 0.5 to 0.95, recalls, classes, areas all to large, at most 1, 10, 100 detections).
        recall: the same without the recalls.
    """
    figures = [precision[:, :, :, 0, 2], precision[0:1, :, :, 0, 2], precision[5:6, :, :, 0, 2]]
    figures += [precision[:, :, :, area, 2] for area in (1, 2, 3)]
    figures += [recall[:, :, 0, most] for most in (0, 1, 2)]
    figures += [recall[:, :, area, 2] for area in (1, 2, 3)]
    return np.array([_mean(values) for values in figures])


def _mean(values: np.ndarray) -> float:
    """Over what exists; -1 where there is nothing to find."""
    known = values[values > -1]
    return float(np.mean(known)) if len(known) else -1.0


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
        """``box_ap``, ``box_ap50``, ..., ``mask_ar_large`` in percent, on every process; -1 where there is nothing to
        find.

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
                figures |= {f"{name}_{figure}": percent(v) for figure, v in zip(NAMES, values, strict=True)}
        figures, scores.ids = _from_first((figures, scores.ids))
        self.latest = scores
        return figures


def percent(value: float) -> float:
    """-1, COCO's word for nothing to find, stays."""
    return 100 * float(value) if value >= 0 else -1.0


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
