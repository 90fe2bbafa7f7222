"""Panoptic maps drawn on images: segments in color, things with borders and names.

Shapes: H W image, n segments, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from visionattn.drawing.canvas import Labels, enlarged, enlarged_map, enlargement, strips
from visionattn.drawing.palette import class_color
from visionattn.drawing.text import drawable

_SHADES = (1.0, 0.72, 0.88, 0.6)
_NAMED_SHARE = 0.004  # of the image: smaller segments get no name


def segment_colors(labels: Sequence[int]) -> np.ndarray:
    """uint8 ``(n + 1, 3)``: black for no segment, then the class colors, in another shade per segment of a class."""
    seen: dict[int, int] = {}
    colors = [(0, 0, 0)]
    for label in labels:
        shade = _SHADES[seen.get(label, 0) % len(_SHADES)]
        seen[label] = seen.get(label, 0) + 1
        red, green, blue = class_color(label)
        colors.append((round(red * shade), round(green * shade), round(blue * shade)))
    return np.array(colors, np.uint8)


def draw_segments(
    image: Image.Image,
    ids: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    *,
    things: Sequence[bool] | None = None,
    scores: Sequence[float] | None = None,
    least_edge: int = 0,
) -> Image.Image:
    """Draw the segments of an RGB image in color, with white borders and with names on the larger ones.

    Args:
        image: of any size.
        ids: int ``(H, W)``, 1..n; 0 for no segment: these pixels stay gray.
        labels: classes of the n segments.
        names: names of the K classes.
        things: of every class whether it is a thing; stuff is painted more lightly, and without its score. None: all
            are.
        scores: scores of the segments, 0 to 1.
        least_edge: an image whose longer edge is shorter is enlarged a whole number of times first.
    """
    times = enlargement(image.size, least_edge)
    image, ids = enlarged(image, times), enlarged_map(ids, times)
    countable = [things is None or bool(things[label]) for label in labels]
    weights = np.array([0.0, *(0.6 if thing else 0.4 for thing in countable)], np.float32)
    pixels = np.asarray(image).copy()
    for part in strips(len(pixels)):
        pixels[part] = _mixed(pixels[part], ids[part], weights, segment_colors(labels))
    pixels[_borders(ids)] = 255
    drawn = Image.fromarray(pixels)
    writer, shown = Labels(drawn.size), drawable(names)
    for i, label in enumerate(labels):
        inside = np.nonzero(ids == i + 1)
        if len(inside[0]) >= _NAMED_SHARE * ids.size:
            score = "" if scores is None or not countable[i] else f" {100 * scores[i]:.0f}%"
            writer.at(_central_pixel(*inside), shown[label] + score, (255, 255, 255))
    writer.draw(ImageDraw.Draw(drawn))
    return drawn


def _mixed(pixels: np.ndarray, ids: np.ndarray, weights: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Pixels with the color of their segment in its weight; half as bright and gray where there is no segment."""
    weight = weights[ids][..., None]
    mixed = (1 - weight) * pixels + weight * colors[ids]
    gray = np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
    return np.where((ids > 0)[..., None], mixed, 0.5 * gray).round().clip(0, 255).astype(np.uint8)


def _central_pixel(rows: np.ndarray, columns: np.ndarray) -> tuple[float, float]:
    """Coordinates (x, y) of the pixel of a segment that is nearest to its center of mass."""
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return float(columns[nearest]), float(rows[nearest])


def _borders(ids: np.ndarray) -> np.ndarray:
    """Pixels ``(H, W)`` whose right or lower neighbor belongs to another segment."""
    borders = np.zeros(ids.shape, bool)
    borders[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    borders[:-1] |= ids[:-1] != ids[1:]
    return borders
