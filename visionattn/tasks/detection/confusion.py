"""The confusion matrix of a detector: which class it says where, and what it misses.

Shapes: N boxes, P pairs of boxes, K classes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visionattn.tasks.detection.average_precision import Result

Pair = tuple[dict[str, Any] | None, Result | None]
"""An object and its detection; None where one has no other."""
_AT_ONCE = 256  # images whose pairs are compared together
BACKGROUND = "(nothing)"
"""Name of the last row, detections without an object, and of the last column, objects without a detection."""


@dataclass
class _Image:
    detections: list[Result] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    crowds: list[dict[str, Any]] = field(default_factory=list)


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
    images: dict[int, _Image] = defaultdict(_Image)
    for annotation in targets["annotations"]:
        image = images[annotation["image_id"]]
        (image.crowds if annotation.get("iscrowd") else image.objects).append(annotation)
    for result in results:
        if result["score"] >= score:
            images[result["image_id"]].detections.append(result)
    listed = list(images)
    pairs: dict[int, list[Pair]] = {}
    for start in range(0, len(listed), _AT_ONCE):
        part = listed[start : start + _AT_ONCE]
        pairs |= zip(part, _pairs([images[number] for number in part], iou), strict=True)
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


def _pairs(images: Sequence[_Image], iou: float) -> list[list[Pair]]:
    """Objects and detections of some images that belong together; None where one has no other."""
    for image in images:
        image.detections.sort(key=lambda result: -result["score"])
    detections, objects, crowds = (
        [getattr(image, kind) for image in images] for kind in ("detections", "objects", "crowds")
    )
    taken = _taken(detections, objects, iou)
    said, _, _, inside = _shares(detections, crowds)
    dropped = set(said[inside >= iou].tolist())
    answer, first, first_object = list[list[Pair]](), 0, 0
    for image in images:
        pairs = list[Pair]()
        for place, detection in enumerate(image.detections, first):
            if place in taken:
                pairs.append((image.objects[taken[place] - first_object], detection))
            elif place not in dropped:
                pairs.append((None, detection))
        hit = {taken[place] - first_object for place in range(first, first + len(image.detections)) if place in taken}
        pairs += [(target, None) for place, target in enumerate(image.objects) if place not in hit]
        answer.append(pairs)
        first, first_object = first + len(image.detections), first_object + len(image.objects)
    return answer


def _taken(detections: Sequence[Sequence[Result]], objects: Sequence[Sequence[Any]], iou: float) -> dict[int, int]:
    """Detection -> the object that it takes, both counted over all images; the detections are in their order."""
    said, other, shared, _ = _shares(detections, objects)
    near = np.flatnonzero(shared >= iou)
    near = near[np.lexsort((other[near], -shared[near], said[near]))]
    taken, hit = dict[int, int](), set[int]()
    for detection, target in zip(said[near].tolist(), other[near].tolist(), strict=True):
        if detection not in taken and target not in hit:
            taken[detection] = target
            hit.add(target)
    return taken


def _boxes(entries: Sequence[Sequence[Mapping[str, Any]]]) -> np.ndarray:
    """Boxes x, y, width, height of the annotations or results of some images, float64 ``(N, 4)``."""
    return np.array([one["bbox"] for of_image in entries for one in of_image], np.float64).reshape(-1, 4)


def _shares(
    entries: Sequence[Sequence[Result]], others: Sequence[Sequence[Any]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of boxes of one image, ``(P,)`` each: the two places, their IoU, and the first one's share inside."""
    counts, sizes = (np.array([len(of_image) for of_image in of], np.int64) for of in (entries, others))
    repeats = np.repeat(sizes, counts)
    rows = np.repeat(np.arange(len(repeats)), repeats)
    starts = np.repeat(np.cumsum(sizes) - sizes, counts) - (np.cumsum(repeats) - repeats)
    columns = np.arange(len(rows)) + np.repeat(starts, repeats)
    boxes, other = _boxes(entries)[rows], _boxes(others)[columns]
    low = np.maximum(boxes[:, :2], other[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], other[:, :2] + other[:, 2:])
    both, areas = np.clip(high - low, 0, None).prod(1), boxes[:, 2:].prod(1)
    union = areas + other[:, 2:].prod(1) - both
    return rows, columns, both / np.maximum(union, 1e-12), both / np.maximum(areas, 1e-12)
