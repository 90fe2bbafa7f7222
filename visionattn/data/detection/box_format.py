"""What the boxes of a data set look like: COCO's x, y, width, height in pixels, or something else.

Boxes are compared with the borders of their images and with the masks of their objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from visionattn.data.detection.annotations import Annotations

_COMPARED = 300  # objects whose masks are compared with their boxes
_FEW = 5  # boxes from which their place in the images alone tells the format
_COCO = "COCO's are [x, y, width, height] in pixels"


def box_fault(notes: Annotations) -> str:
    """What is wrong with most boxes of a split, as a sentence; empty if nothing is."""
    boxes = notes.stated.astype(np.float64)
    if not len(boxes):
        return ""
    sizes = np.repeat(notes.sizes, np.diff(notes.first), axis=0)
    example = f"e.g. {boxes[0].round(3).tolist()} in an image of {sizes[0][0]}x{sizes[0][1]}"
    if boxes.max() <= 1.5 and sizes.min() > 4:
        return f"boxes look like fractions of their images; {_COCO}, {example}"
    known = _by_masks(notes, boxes, sizes)
    if known:
        return f"boxes look like {known}, compared with the masks; {_COCO}, {example}"
    leaving = leaves_image(notes)
    as_corners = ((boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes[:, ::-1] + 1)).all(1)
    if len(boxes) >= _FEW and leaving.mean() > 0.1 and as_corners.mean() > 0.98:
        return f"boxes look like two corners [x1, y1, x2, y2]; {_COCO}, {example}"
    return ""


def leaves_image(notes: Annotations) -> np.ndarray:
    """Which boxes leave their image by more than two pixels, bool ``(M,)``."""
    sizes = np.repeat(notes.sizes, np.diff(notes.first), axis=0)
    far = notes.stated[:, :2] + notes.stated[:, 2:]
    return ((far > sizes[:, ::-1] + 2) | (notes.stated[:, :2] < -2)).any(1)


def overlaps(notes: Annotations, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some objects that have polygons: their rows, the boxes around these, and the IoU of ``boxes`` with them.

    Args:
        notes: of a split.
        boxes: ``(M, 4)`` as x1 y1 x2 y2.
    """
    masked = np.flatnonzero(notes.has_mask)
    rows, around = [], []
    for row in masked[:: max(1, len(masked) // _COMPARED)].tolist():
        parts = json.loads(notes.segmentations[row])
        if isinstance(parts, list):
            points = np.concatenate([np.asarray(part, np.float64).reshape(-1, 2) for part in parts])
            rows.append(row)
            around.append([*points.min(0), *points.max(0)])
    extents, chosen = np.array(around, np.float64).reshape(-1, 4), np.array(rows, np.int64)
    return chosen, extents, _iou(boxes[chosen], extents)


def _by_masks(notes: Annotations, boxes: np.ndarray, sizes: np.ndarray) -> str:
    """The format in which the boxes enclose their masks, if they do not as COCO's."""
    half, edges = boxes[:, 2:] / 2, np.tile(sizes[:, ::-1], 2)
    readings: dict[str, Callable[[], np.ndarray]] = {
        "two corners [x1, y1, x2, y2]": lambda: boxes,
        "[center x, center y, width, height]": lambda: np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1),
        "[y, x, height, width]": lambda: _corners(boxes[:, [1, 0, 3, 2]]),
        "fractions of their images": lambda: _corners(boxes) * edges,
    }
    rows, extents, usual = overlaps(notes, _corners(boxes))
    if not len(rows) or np.median(usual) >= 0.75:
        return ""
    for name, read in readings.items():
        if np.median(_iou(read()[rows], extents)) > 0.85:
            return name
    return ""


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of pairs of boxes x1 y1 x2 y2; of boxes without area 0."""
    inner = np.clip(np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2]), 0, None).prod(1)
    areas = [np.clip(one[:, 2:] - one[:, :2], 0, None).prod(1) for one in (boxes, others)]
    return inner / np.maximum(areas[0] + areas[1] - inner, 1e-9)
