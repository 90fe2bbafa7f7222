"""Panoptic maps: PNG files whose colors are numbers of segments.

Shapes: H W map, n segments.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from visionattn.data.decode import DAMAGE
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import counted

LARGEST = 256**3 - 1
_SHOWN = 5


def to_numbers(colors: np.ndarray) -> np.ndarray:
    """Colors, uint8 ``(H, W, 3)``, to numbers, int32 ``(H, W)``: R + 256 G + 65536 B."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return red + 256 * green + 65536 * blue


def to_colors(numbers: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_numbers`."""
    return np.stack([numbers & 255, (numbers >> 8) & 255, (numbers >> 16) & 255], axis=-1).astype(np.uint8)


def decode_map(data: bytes) -> np.ndarray:
    """The numbers in a PNG file, int32 ``(H, W)``; 0 belongs to no segment.

    Raises:
        UnreadableImage: damaged, no PNG, or without three channels of 8 bits.
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                image.load()
                if image.mode != "RGB":
                    raise UnreadableImage(f"it is a PNG of mode {image.mode}, a panoptic map is RGB")
                return to_numbers(np.asarray(image))
    except (Image.UnidentifiedImageError, Image.DecompressionBombError, *DAMAGE) as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from None


def encode_map(numbers: np.ndarray) -> bytes:
    """A PNG file of numbers ``(H, W)`` in 0..16777215."""
    buffer = io.BytesIO()
    Image.fromarray(to_colors(numbers)).save(buffer, "PNG")
    return buffer.getvalue()


def segment_ids(numbers: np.ndarray, listed: Sequence[int]) -> np.ndarray:
    """The segment of every pixel, int32 ``(H, W)``: 1 for the first of ``listed`` and so on, 0 for none.

    Args:
        numbers: ``(H, W)``, as stored.
        listed: stored numbers of the segments.

    Raises:
        UnreadableImage: the map has other segments than those listed.
    """
    flat = numbers.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])  # of runs: far fewer than pixels
    present, which = np.unique(flat[starts], return_inverse=True)
    known = {number: i for i, number in enumerate(listed, 1)} | {0: 0}
    strange = [number for number in present.tolist() if number not in known]
    absent = sorted(set(known) - {0} - set(present.tolist()))
    for which_ones, words in ((strange, "missing from the annotation file"), (absent, "without pixels in the map")):
        if which_ones:
            shown = ", ".join(map(str, which_ones[:_SHOWN])) + (", ..." if len(which_ones) > _SHOWN else "")
            raise UnreadableImage(f"its panoptic map: {counted(len(which_ones), 'segment')} {words}: {shown}")
    table = np.array([known[number] for number in present.tolist()], np.int32)
    return np.repeat(table[which], np.diff(np.append(starts, flat.size))).reshape(numbers.shape)


def describe(
    ids: np.ndarray, numbers: Sequence[int], category_ids: Sequence[int], crowd: Sequence[bool] | None = None
) -> list[dict[str, Any]]:
    """``segments_info`` of a map: id, category_id, area, bbox (x, y, width, height) and iscrowd of every segment.

    Args:
        ids: ``(H, W)``, 1..n, 0 for no segment; each segment has a pixel.
        numbers: stored numbers of the n segments.
        category_ids: of the n segments.
        crowd: whether each is a crowd; None: none is.
    """
    entries = []
    for segment_id, (number, category) in enumerate(zip(numbers, category_ids, strict=True), 1):
        mask = ids == segment_id
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        corner = [int(columns[0]), int(rows[0])]
        box = [*corner, int(columns[-1]) + 1 - corner[0], int(rows[-1]) + 1 - corner[1]]
        entry = {"id": int(number), "category_id": int(category), "area": int(mask.sum()), "bbox": box}
        entries.append(entry | {"iscrowd": int(crowd[segment_id - 1]) if crowd is not None else 0})
    return entries
