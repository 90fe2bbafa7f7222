"""COCO's segmentations: their problems, and their pixels.

Shapes: H W image, N objects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import mask as coco_mask

from visionattn.data.detection.values import as_number, as_whole
from visionattn.data.unreadable import UnreadableImage

Segmentation = list[list[float]] | dict[str, Any]
"""Polygons x0, y0, x1, y1, ..., or run lengths: ``size`` [H, W] and ``counts``, a list or COCO's compressed string."""

STRAY_PARTS = "parts of polygons with less than three points, which are left out"
_FAR = 2.0  # polygons may leave their image by this many of its longer edges


def mended(segmentation: Any, height: int, width: int) -> tuple[Segmentation | None, str, str]:
    """A segmentation as it can be drawn, what was mended, and what is wrong with it; at most one of the texts.

    It looks at numbers only, without drawing: a polygon with coordinates of 1e8 keeps both pycocotools and
    faster-coco-eval busy for minutes and takes all memory. Parts of a polygon with one or two points cover nothing and
    are left out. None for a mask that is wrong, and without a text for one that the file does not have.
    """
    if isinstance(segmentation, str) and segmentation.strip()[:1] in ("[", "{"):
        try:
            segmentation = json.loads(segmentation)
        except ValueError:
            return None, "", "a mask is text that is not valid JSON"
        return mended(segmentation, height, width)
    if isinstance(segmentation, dict):
        return _mended_runs(segmentation, height, width)
    if segmentation is None or segmentation in ([], "", [[]]):
        return None, "", ""
    if not isinstance(segmentation, list):
        return None, "", "a mask is neither polygons nor run lengths"
    return _mended_polygons(segmentation, height, width)


def problem(segmentation: Any, height: int, width: int) -> str:
    """What is wrong with a segmentation in an image of this size, as text; empty if it can be drawn."""
    usable, _, fault = mended(segmentation, height, width)
    return "" if usable is not None else fault or "no polygon and no run lengths"


def _mended_polygons(parts: list[Any], height: int, width: int) -> tuple[Segmentation | None, str, str]:
    repair = ""
    if not any(isinstance(part, (list, dict, str)) for part in parts):
        parts, repair = [parts], "polygons that are not in a list of parts"
    far, kept = (_FAR + 1) * max(height, width), []
    for part in parts:
        polygon = part
        try:
            total = sum(part)
        except TypeError:
            polygon, repair, total = _flat(part), "polygons whose points are pairs or text", 0.0
            if polygon is None:
                return None, "", "a polygon needs at least three points (x1, y1, x2, y2, ...)"
            total = sum(polygon)
        if not -math.inf < total < math.inf:
            return None, "", "a polygon has coordinates that are not finite"
        if len(polygon) <= 4:
            repair = STRAY_PARTS
            continue
        if len(polygon) % 2:
            return None, "", f"a polygon has {len(polygon)} coordinates, expected pairs (x1, y1, x2, y2, ...)"
        if max(polygon) > far or min(polygon) < -far:
            return None, "", f"a polygon has a coordinate of {max(map(abs, polygon)):g} in an image of {height}x{width}"
        kept.append(polygon)
    if not kept:
        return None, "", "a polygon needs at least three points (x1, y1, x2, y2, ...)"
    return kept, repair, ""


def _flat(part: Any) -> list[float] | None:
    """Coordinates that are written as pairs of numbers, or as text; None for anything else."""
    if isinstance(part, str):
        part = part.replace(",", " ").split()
    if not isinstance(part, list):
        return None
    if part and all(isinstance(point, list) and len(point) == 2 for point in part):
        part = [value for point in part for value in point]
    if any(isinstance(value, (list, dict)) for value in part):
        return None
    numbers = [float("nan") if (number := as_number(value)) is None else number for value in part]
    return None if part and all(number != number for number in numbers) else numbers


def _mended_runs(runs: dict[str, Any], height: int, width: int) -> tuple[Segmentation | None, str, str]:
    given, counts, repair = runs.get("size"), runs.get("counts"), ""
    size = [as_whole(edge) for edge in given] if isinstance(given, list) else given
    if size != [height, width]:
        return None, "", f"the mask is {given}, the image {[height, width]}"
    if isinstance(counts, list):
        whole = [as_whole(count) for count in counts]
        if any(count is None or count < 0 for count in whole):
            return None, "", "the run lengths are no whole numbers"
        if sum(count for count in whole if count is not None) != height * width:
            return None, "", "the run lengths do not fill the image"
        if given != size or not all(type(count) is int for count in counts):
            repair = "run lengths that are no integers"
        return {"size": size, "counts": whole}, repair, ""
    if not isinstance(counts, str):
        return None, "", "the run lengths are neither a list nor a string"
    try:
        coco_mask.area({"size": size, "counts": counts})
        coco_mask.decode({"size": size, "counts": counts})
    except (ValueError, RuntimeError, TypeError):
        return None, "", f"the compressed run lengths {counts[:12]!r}... do not fill the image"
    return {"size": size, "counts": counts}, repair if given == size else "run lengths that are no integers", ""


def to_runs(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """Compressed run lengths of a segmentation without a problem."""
    if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
        return segmentation
    runs = coco_mask.frPyObjects(segmentation, height, width)
    return runs if isinstance(runs, dict) else coco_mask.merge(runs)


def box_runs(box: Sequence[float], height: int, width: int) -> dict[str, Any]:
    """Compressed run lengths of a box x, y, width, height, cut to its image."""
    left, top = min(max(box[0], 0.0), width), min(max(box[1], 0.0), height)
    right, bottom = min(max(box[0] + box[2], left), width), min(max(box[1] + box[3], top), height)
    return to_runs([[left, top, right, top, right, bottom, left, bottom]], height, width)


def draw(segmentations: Sequence[Segmentation | None], height: int, width: int) -> np.ndarray:
    """Masks, uint8 ``(N, H, W)``, of segmentations without a problem; empty where there is none.

    Raises:
        UnreadableImage: one of them cannot be drawn nevertheless.
    """
    masks = np.zeros((len(segmentations), height, width), np.uint8)
    for mask, segmentation in zip(masks, segmentations, strict=True):
        if segmentation is None:
            continue
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
