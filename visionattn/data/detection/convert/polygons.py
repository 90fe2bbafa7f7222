"""Masks as the single polygon per object that YOLO's labels hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from visionattn.data.detection.masks import draw
from visionattn.data.shapes.polygons import mask_to_polygons

Polygons = list[list[float]]


def as_polygons(segmentation: Any, height: int, width: int) -> Polygons:
    """Polygons of a mask; those of run lengths follow the borders of their pixels exactly."""
    if isinstance(segmentation, list):
        return [[float(value) for value in polygon] for polygon in segmentation]
    (mask,) = draw([segmentation], height, width)
    return [[float(value) for value in polygon] for polygon in mask_to_polygons(mask.astype(bool))]


def joined(polygons: Sequence[Sequence[float]]) -> list[float]:
    """One polygon around all parts: each further part is reached and left by a bridge without width."""
    rings = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    whole = rings[0]
    for ring in rings[1:]:
        distances = ((whole[:, None] - ring[None]) ** 2).sum(-1)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        around = np.concatenate([ring[there:], ring[: there + 1]])
        whole = np.concatenate([whole[: here + 1], around, whole[here:]])
    return [float(value) for value in whole.reshape(-1)]
