"""Panoptic maps: PNG files whose colours are numbers of segments, and what is said about their segments.

Shapes: H W map, n segments.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from visionattn.data.decode import DAMAGE
from visionattn.data.unreadable import UnreadableImage

LARGEST = 256**3 - 1
_SHOWN = 5


def to_numbers(colours: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) to int32 (H, W): R + 256 G + 65536 B."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red + 256 * green + 65536 * blue


def to_colours(numbers: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_numbers`."""
    return np.stack([numbers & 255, (numbers >> 8) & 255, (numbers >> 16) & 255], axis=-1).astype(np.uint8)


def decode_map(data: bytes) -> np.ndarray:
    """The numbers in a PNG file, int32 (H, W); 0 belongs to no segment.

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
    """A PNG file of numbers (H, W) in 0..16777215."""
    buffer = io.BytesIO()
    Image.fromarray(to_colours(numbers)).save(buffer, "PNG")
    return buffer.getvalue()


def places(numbers: np.ndarray, listed: Sequence[int]) -> np.ndarray:
    """Which segment every pixel belongs to: int32 (H, W), 1 for the first of ``listed`` and so on, 0 for none.

    Args:
        numbers: (H, W), as stored.
        listed: numbers of the segments that there are.
    Raises:
        UnreadableImage: the map has other segments than those listed.
    """
    flat = numbers.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])  # of runs: far fewer than pixels
    found, which = np.unique(flat[starts], return_inverse=True)
    known = {number: place for place, number in enumerate(listed, 1)} | {0: 0}
    strange = [number for number in found.tolist() if number not in known]
    absent = sorted(set(known) - {0} - set(found.tolist()))
    for which_ones, words in ((strange, "are not listed with it"), (absent, "are listed and have no pixel")):
        if which_ones:
            shown = ", ".join(map(str, which_ones[:_SHOWN])) + (", ..." if len(which_ones) > _SHOWN else "")
            raise UnreadableImage(f"its panoptic map: {len(which_ones)} segments {words}: {shown}")
    table = np.array([known[number] for number in found.tolist()], np.int32)
    return np.repeat(table[which], np.diff(np.append(starts, flat.size))).reshape(numbers.shape)


def describe(
    places: np.ndarray, numbers: Sequence[int], category_ids: Sequence[int], crowd: Sequence[bool] | None = None
) -> list[dict[str, Any]]:
    """``segments_info`` of a map: id, category_id, area, bbox (x, y, width, height) and iscrowd of every segment.

    Args:
        places: (H, W), 1..n, 0 for no segment.
        numbers, category_ids, crowd: of the n segments; each has a pixel.
    """
    entries = []
    for place, (number, category) in enumerate(zip(numbers, category_ids, strict=True), 1):
        mask = places == place
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        corner = [int(columns[0]), int(rows[0])]
        box = [*corner, int(columns[-1]) + 1 - corner[0], int(rows[-1]) + 1 - corner[1]]
        entry = {"id": int(number), "category_id": int(category), "area": int(mask.sum()), "bbox": box}
        entries.append(entry | {"iscrowd": int(crowd[place - 1]) if crowd is not None else 0})
    return entries
