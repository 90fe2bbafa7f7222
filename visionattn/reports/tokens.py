"""A picture whose tokens tell what they attend to.

Shapes: A B queries from top to bottom and from left to right, H W keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from visionattn.reports.embedding import Embedding, Pixels

MOST_QUERIES, MOST_KEYS = 16, 32
"""Largest edges of the grids in a file: of more queries every k-th is kept, more keys are added up in blocks."""


@dataclass(frozen=True)
class TokenMap:
    """An image over which the pointer, or the arrow keys, choose a token, whose attention is drawn on the image.

    Attributes:
        image: the whole image that the grids lie over.
        attention: name (a stage, a head) -> ``(A, B, H, W)``, not negative: what query (a, b) takes from key (h, w).
            The grids may differ from name to name. The first is shown at first.
        start: the query that is shown at first, row and column as shares of the image from 0 to 1.
    """

    title: str
    image: Pixels
    attention: Mapping[str, np.ndarray]
    caption: str = ""
    note: str = ""
    start: tuple[float, float] = (0.5, 0.5)
    kind: ClassVar[str] = "token_map"

    def view(self, images: Embedding) -> dict[str, Any]:
        if not images.room_for(1):
            return {"image": None, "data": {}}
        maps = [{"name": name, **_packed(values, images)} for name, values in self.attention.items()]
        return {"image": images.photograph(self.image, times=1.6), "data": {"maps": maps, "start": list(self.start)}}


def _packed(values: np.ndarray, images: Embedding) -> dict[str, Any]:
    """The rows of attention as the rows of a gray PNG file, each with its own largest value."""
    given = np.asarray(values, np.float64)
    if given.ndim != 4:
        raise ValueError(
            f"attention of a token map has 4 axes (query rows, columns, key rows, columns), got {given.shape}"
        )
    small = _fewer_keys(_fewer_queries(given))
    rows, columns, height, width = small.shape
    flat = small.reshape(rows * columns, height * width)
    largest = flat.max(1)
    shades = np.rint(255 * flat / np.where(largest > 0, largest, 1)[:, None]).astype(np.uint8)
    return {
        "queries": [rows, columns],
        "keys": [height, width],
        "largest": [float(f"{value:.4g}") for value in largest],
        "image": images.numbers(shades),
    }


def _fewer_queries(values: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        size = values.shape[axis]
        kept = min(size, MOST_QUERIES)
        values = values.take((np.arange(kept) * size + size // 2) // kept, axis=axis)
    return values


def _fewer_keys(values: np.ndarray) -> np.ndarray:
    """Keys added up in blocks, so that a row keeps its sum."""
    for axis in (2, 3):
        size = values.shape[axis]
        if size > MOST_KEYS:
            starts = np.linspace(0, size, MOST_KEYS + 1).astype(int)[:-1]
            values = np.add.reduceat(values, starts, axis=axis)
    return values
