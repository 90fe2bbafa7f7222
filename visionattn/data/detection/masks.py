"""COCO's segmentations: their problems, and their pixels.

Shapes: H W image, N objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import mask as coco_mask

from visionattn.data.unreadable import UnreadableImage

Segmentation = list[list[float]] | dict[str, Any]
"""Polygons x0, y0, x1, y1, ..., or run lengths: ``size`` [H, W] and ``counts``, a list or COCO's compressed string."""

_FAR = 2.0  # polygons may leave their image by this many of its longer edges


def problem(segmentation: Any, height: int, width: int) -> str:
    """What is wrong with a segmentation in an image of this size, as text; empty if nothing is.

    It looks at numbers only, without drawing: a polygon with coordinates of 1e8 keeps both pycocotools and
    faster-coco-eval busy for minutes and takes all memory.
    """
    if isinstance(segmentation, dict):
        return _wrong_runs(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        return "no polygon and no run lengths"
    far = _FAR * max(height, width)
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "a polygon needs at least three points (x1, y1, x2, y2, ...)"
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in polygon):
            return "a polygon has coordinates that are not finite"
        worst = max(map(abs, polygon))
        if worst > far + max(height, width):
            return f"a polygon has a coordinate of {worst:g} in an image of {height}x{width}"
    return ""


def _wrong_runs(runs: dict[str, Any], height: int, width: int) -> str:
    size, counts = runs.get("size"), runs.get("counts")
    if size != [height, width]:
        return f"the mask is {size}, the image {[height, width]}"
    if isinstance(counts, list):
        if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) != height * width:
            return "the run lengths do not fill the image"
        return ""
    if not isinstance(counts, (str, bytes)):
        return "the run lengths are neither a list nor a string"
    try:
        coco_mask.area({"size": size, "counts": counts})
        coco_mask.decode({"size": size, "counts": counts})
    except (ValueError, RuntimeError, TypeError) as error:
        return f"the run lengths cannot be decoded: {error}"
    return ""


def to_runs(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """Compressed run lengths of a segmentation without a problem."""
    if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
        return segmentation
    runs = coco_mask.frPyObjects(segmentation, height, width)
    return runs if isinstance(runs, dict) else coco_mask.merge(runs)


def draw(segmentations: Sequence[Segmentation], height: int, width: int) -> np.ndarray:
    """Masks, uint8 ``(N, H, W)``, of segmentations without a problem.

    Raises:
        UnreadableImage: one of them cannot be drawn nevertheless.
    """
    masks = np.zeros((len(segmentations), height, width), np.uint8)
    for mask, segmentation in zip(masks, segmentations, strict=True):
        try:
            mask[:] = coco_mask.decode(to_runs(segmentation, height, width))
        except (ValueError, RuntimeError, TypeError) as error:
            raise UnreadableImage(f"a mask cannot be rasterized: {error}") from None
    return masks


def encode(masks: np.ndarray) -> list[dict[str, Any]]:
    """Compressed run lengths of uint8 ``(N, H, W)``; counts are strings, as in a result file."""
    runs = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    return [{"size": list(one["size"]), "counts": _text(one["counts"])} for one in runs]


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
