"""The confusion matrix of a detector: which class it says where, and what it misses.

Shapes: N detections, M objects, K classes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from visionattn.tasks.detection.average_precision import Result

Pair = tuple[dict[str, Any] | None, Result | None]
"""An object and its detection; None where one has no other."""
BACKGROUND = "(nothing)"
"""Name of the last row, detections without an object, and of the last column, objects without a detection."""


def confusion_matrix(
    targets: Mapping[str, Any], results: Sequence[Result], category_ids: Sequence[int], score: float, iou: float = 0.5
) -> np.ndarray:
    """Count detections against objects, by their boxes.

    The detections of an image, the surest first, each take the object without one that they share most with, of
    whatever class. Detections in a region of a crowd count nowhere.

    Args:
        targets: contents of an annotation file in COCO's format.
        results: detections in COCO's format.
        category_ids: label -> category id.
        score: the least score of a detection that counts.
        iou: the least IoU of a detection with its object.

    Returns:
        int64 ``(K + 1, K + 1)``, objects by detections; the last row and column are no object and no detection.
    """
    return count_pairs(matched(targets, results, score, iou), category_ids)


def matched(
    targets: Mapping[str, Any], results: Sequence[Result], score: float, iou: float = 0.5
) -> dict[int, list[Pair]]:
    """Objects and detections that belong together, by the number of their image; see :func:`confusion_matrix`."""
    objects, found = defaultdict(list), defaultdict(list)
    for annotation in targets["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    for result in results:
        if result["score"] >= score:
            found[result["image_id"]].append(result)
    pairs = {}
    for image_id in objects.keys() | found.keys():
        detections = sorted(found[image_id], key=lambda result: -result["score"])
        pairs[image_id] = list(_pairs(detections, objects[image_id], iou))
    return pairs


def count_pairs(pairs: Mapping[int, Sequence[Pair]], category_ids: Sequence[int]) -> np.ndarray:
    """The matrix of :func:`confusion_matrix` from what :func:`matched` gives."""
    label_of, none = {number: label for label, number in enumerate(category_ids)}, len(category_ids)
    matrix = np.zeros((none + 1, none + 1), np.int64)
    for target, said in (pair for of_image in pairs.values() for pair in of_image):
        row = none if target is None else label_of[target["category_id"]]
        column = none if said is None else label_of[said["category_id"]]
        matrix[row, column] += 1
    return matrix


def f1_of(pairs: Sequence[Pair]) -> float:
    """F1 score of the detections of one image, from 0 to 1; NaN where there is neither object nor detection."""
    right = sum(a is not None and b is not None and a["category_id"] == b["category_id"] for a, b in pairs)
    both = sum((a is not None) + (b is not None) for a, b in pairs)
    return 2 * right / both if both else math.nan


def _pairs(detections: Sequence[Result], annotations: Sequence[dict[str, Any]], iou: float) -> Iterator[Pair]:
    """Objects and detections of one image that belong together; None where one has no other."""
    crowds = [annotation for annotation in annotations if annotation.get("iscrowd")]
    objects = [annotation for annotation in annotations if not annotation.get("iscrowd")]
    boxes = _boxes(detections)
    shared, inside = _shares(boxes, _boxes(objects))[0], _shares(boxes, _boxes(crowds))[1]
    free = np.ones(len(objects), bool)
    for row, detection in enumerate(detections):
        usable = np.where(free, shared[row], -1.0)
        best = int(np.argmax(usable)) if len(usable) else -1
        if best >= 0 and usable[best] >= iou:
            free[best] = False
            yield objects[best], detection
        elif not (inside[row] >= iou).any():
            yield None, detection
    for missed in np.flatnonzero(free):
        yield objects[missed], None


def _boxes(entries: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Boxes x, y, width, height of annotations or results, float64 ``(N, 4)``."""
    return np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)


def _shares(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU ``(N, M)`` of boxes with others, and the share of each box that lies inside the other."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (others[:, :2] + others[:, 2:])[None])
    both = np.clip(high - low, 0, None).prod(-1)
    areas, other_areas = boxes[:, 2:].prod(-1), others[:, 2:].prod(-1)
    union = areas[:, None] + other_areas[None] - both
    return both / np.maximum(union, 1e-12), both / np.maximum(areas[:, None], 1e-12)
