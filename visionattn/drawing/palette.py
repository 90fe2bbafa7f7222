"""The colors of classes: one categorical palette for all tasks, the same for a class in every picture.

The first seven colors are those of Okabe and Ito (2008, *Color Universal Design*), made for readers who see few colors.
Each further one is the color that is farthest from all before it, as everybody sees them: distances are taken in OKLab
(Ottosson 2020) for normal vision and for vision without red or green receptors (Machado et al. 2009), the smallest of
the three counts. So the color of class 7 does not depend on how many classes there are.

Shapes: K classes, N colors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Color = tuple[int, int, int]

_FIRST = ("0072B2", "E69F00", "009E73", "CC79A7", "56B4E9", "D55E00", "F0E442")
_BACKGROUNDS = frozenset({"background", "__background__", "_background_", "bg", "unlabeled", "unlabelled", "void"})
_LEVELS = 17  # of each channel: 4913 candidates
_LIGHTNESS, _LEAST_CHROMA = (0.42, 0.93), 0.05  # neither black nor white nor gray, which pictures are full of
_NO_RED = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
_NO_GREEN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def palette(count: int) -> np.ndarray:
    """Colors of the classes 0..K-1, uint8 ``(K, 3)``; the first ones are the most different."""
    size = max(64, 1 << max(count - 1, 0).bit_length())
    return _sequence(size)[:count].copy()


def palette_of(names: Sequence[str]) -> np.ndarray:
    """Colors of classes, uint8 ``(K, 3)``: those of :func:`palette`, but black for a first class named background."""
    colors = palette(len(names))
    if names and is_background(names[0]):
        colors[0] = 0
    return colors


def class_color(label: int) -> Color:
    """The color of one class as red, green and blue, 0 to 255."""
    red, green, blue = palette(label + 1)[label].tolist()
    return red, green, blue


def text_color(color: Sequence[int]) -> Color:
    """Black or white, whichever is easier to read on a color."""
    light = float(oklab(np.array([color], np.uint8))[0, 0])
    return (0, 0, 0) if light > 0.6 else (255, 255, 255)


def is_background(name: str) -> bool:
    """Whether a class is the background by its name, which is not painted over a picture."""
    return name.strip().lower() in _BACKGROUNDS


def oklab(colors: np.ndarray) -> np.ndarray:
    """Lightness, green to red, and blue to yellow of uint8 colors ``(N, 3)``, float64 ``(N, 3)``."""
    return _from_linear(_linear(colors))


def as_seen(colors: np.ndarray) -> np.ndarray:
    """OKLab ``(3, N, 3)`` of uint8 colors ``(N, 3)``: for normal vision, and without red or green receptors."""
    linear = _linear(colors)
    dim = [np.clip(linear @ np.array(matrix).T, 0, 1) for matrix in (_NO_RED, _NO_GREEN)]
    return np.stack([_from_linear(seen) for seen in (linear, *dim)])


def _linear(colors: np.ndarray) -> np.ndarray:
    values = colors.astype(np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _from_linear(linear: np.ndarray) -> np.ndarray:
    return np.asarray(np.cbrt(linear @ np.array(_TO_CONES).T) @ np.array(_TO_LAB).T)


@lru_cache
def _sequence(size: int) -> np.ndarray:
    """The first colors of the palette; beyond the candidates they repeat."""
    first = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in _FIRST], np.uint8)
    candidates = _candidates()
    colors = np.concatenate([first, candidates])
    seen = as_seen(colors).astype(np.float32)
    nearest = np.full(len(colors), np.inf, np.float32)
    chosen: list[int] = []
    for place in range(min(size, len(colors))):
        best = place if place < len(first) else int(np.argmax(nearest))
        chosen.append(best)
        distance = np.linalg.norm(seen - seen[:, best : best + 1], axis=-1)
        # What one reader in twelve sees counts, but not so much that everybody else gets shades of blue and yellow.
        nearest = np.minimum(nearest, np.minimum(distance[0], 2 * distance[1:].min(0)))
        nearest[best] = -1
    return np.resize(colors[chosen], (size, 3))


def _candidates() -> np.ndarray:
    levels = np.round(np.linspace(0, 255, _LEVELS)).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = oklab(grid)
    light, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    return grid[(light >= _LIGHTNESS[0]) & (light <= _LIGHTNESS[1]) & (chroma >= _LEAST_CHROMA)]
