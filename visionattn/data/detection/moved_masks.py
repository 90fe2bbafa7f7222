"""Masks of many objects of a large image: drawn where a transform puts them, never at the size of the image.

1,500 masks of an image of four megapixels are 6 GB. A transform that only resizes, cuts, pads and flips takes every row
and every column of its result from one row and one column of the image; with these, masks are drawn one by one into the
result, from a window around their polygons.

Shapes: H W image, h w transformed image, N objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from faster_coco_eval import mask as coco_mask
from torch import Tensor
from torchvision import tv_tensors

from visionattn.data.detection.masks import Segmentation, draw, to_runs

MANY_PIXELS = 1 << 27
"""Pixels of all masks of an image (N H W) from which they are drawn after the transform."""
_MARGIN = 2


def coordinates(height: int, width: int) -> tv_tensors.Mask:
    """The row and the column of every pixel, from 1, float ``(2, H, W)``; a transform treats them as masks."""
    rows = torch.arange(1, height + 1, dtype=torch.float32)[:, None].expand(height, width)
    columns = torch.arange(1, width + 1, dtype=torch.float32)[None].expand(height, width)
    return tv_tensors.Mask(torch.stack([rows, columns]))


def draw_moved(segmentations: Sequence[Segmentation | None], size: tuple[int, int], moved: Tensor) -> Tensor:
    """Masks as a transform leaves them, uint8 ``(N, h, w)``: equal to those that are drawn first and transformed then.

    Args:
        segmentations: of the N objects; None: an empty mask.
        size: (height, width) of the image.
        moved: the :func:`coordinates` after the transform, ``(2, h, w)``; 0 where it padded.
    """
    rows = moved[0].amax(1).long().numpy() - 1
    columns = moved[1].amax(0).long().numpy() - 1
    masks = np.zeros((len(segmentations), len(rows), len(columns)), np.uint8)
    for mask, segmentation in zip(masks, segmentations, strict=True):
        if segmentation is None:
            continue
        drawn, top, left = _window(segmentation, *size)
        down = np.flatnonzero((rows >= top) & (rows < top + drawn.shape[0]))
        across = np.flatnonzero((columns >= left) & (columns < left + drawn.shape[1]))
        mask[np.ix_(down, across)] = drawn[np.ix_(rows[down] - top, columns[across] - left)]
    return torch.from_numpy(masks)


def _window(segmentation: Segmentation, height: int, width: int) -> tuple[np.ndarray, int, int]:
    """The part of a mask that has its pixels, and the row and column where it begins."""
    if isinstance(segmentation, dict):
        return draw([segmentation], height, width)[0], 0, 0
    points = np.concatenate([np.asarray(part, np.float64).reshape(-1, 2) for part in segmentation])
    (left, top), (right, bottom) = points.min(0), points.max(0)
    if left < 0 or top < 0 or right > width or bottom > height:
        return draw([segmentation], height, width)[0], 0, 0
    x, y = max(int(left) - _MARGIN, 0), max(int(top) - _MARGIN, 0)
    wide, high = min(int(right) + 1 + _MARGIN, width) - x, min(int(bottom) + 1 + _MARGIN, height) - y
    parts = [[value - (y if i % 2 else x) for i, value in enumerate(part)] for part in segmentation]
    return coco_mask.decode(to_runs(parts, high, wide)), y, x
