"""The shapes, as masks drawn from outlines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Points = np.ndarray
"""float ``(num_points, 2)``, x and y within the unit circle."""

_CURVE_POINTS = 96


def _polar(radii: np.ndarray, start: float = 0.0) -> Points:
    angles = start + np.arange(len(radii)) * (2 * np.pi / len(radii))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _regular(corners: int) -> Points:
    return _polar(np.ones(corners), start=-np.pi / 2)


def _star() -> Points:
    return _polar(np.tile([1.0, 0.42], 5), start=-np.pi / 2)


def _cross() -> Points:
    arm, reach = 0.32, 0.95
    quarter = np.array([(arm, -reach), (arm, -arm), (reach, -arm)])
    quarter_turn = np.array([[0, -1], [1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(quarter_turn, k).T for k in range(4)])


def _arrow() -> Points:
    return np.array([(1.0, 0), (0.25, 0.75), (0.25, 0.3), (-0.95, 0.3), (-0.95, -0.3), (0.25, -0.3), (0.25, -0.75)])


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, _CURVE_POINTS, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.5], axis=1) / 17.0


def _circle(radius: float = 1.0, x: float = 0.0) -> Points:
    return _regular(_CURVE_POINTS) * radius + np.array([x, 0.0])


# name -> (what is filled, what is cut out of it)
_SHAPES: dict[str, tuple[Callable[[], Points], Callable[[], Points] | None]] = {
    "arrow": (_arrow, None),
    "circle": (_circle, None),
    "crescent": (_circle, lambda: _circle(0.82, 0.45)),
    "cross": (_cross, None),
    "heart": (_heart, None),
    "hexagon": (lambda: _regular(6), None),
    "ring": (_circle, lambda: _circle(0.55)),
    "square": (lambda: _regular(4), None),
    "star": (_star, None),
    "triangle": (lambda: _regular(3), None),
}

SHAPE_NAMES = tuple(_SHAPES)


def draw_mask(name: str, size: tuple[int, int], center: tuple[float, float], transform: np.ndarray) -> np.ndarray:
    """One shape's coverage, uint8 ``(H, W)``, 0 or 255.

    Args:
        name: of the shape.
        size: (height, width).
        center: (x, y) in pixels.
        transform: ``(2, 2)``, applied to the unit outline; its scale is the radius in pixels.
    """
    outer, inner = _SHAPES[name]
    mask = Image.new("L", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(mask)
    for outline, value in ((outer, 255), (inner, 0)):
        if outline is not None:
            points = outline() @ transform.T + np.array(center)
            draw.polygon([(float(x), float(y)) for x, y in points], fill=value)
    return np.asarray(mask)
