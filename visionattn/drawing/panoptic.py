"""Plots of panoptic maps: segments in color with borders and names, panoptic quality per class.

Shapes: H W image, n segments, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from visionattn.drawing.detection import class_color, enlarged, enlargement, label_font

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
    scores: Sequence[float] | None = None,
    least_edge: int = 0,
) -> Image.Image:
    """Draw the segments of an RGB image in color, with white borders and with names on the larger ones.

    Args:
        image: of any size.
        ids: int ``(H, W)``, 1..n; 0 for no segment: these pixels stay gray.
        labels: classes of the n segments.
        names: names of the K classes.
        scores: scores of the segments, 0 to 1.
        least_edge: an image whose longer edge is shorter is enlarged a whole number of times first.
    """
    times = enlargement(image, least_edge)
    image, ids = enlarged(image, times), np.kron(ids, np.ones((times, times), ids.dtype))
    pixels = np.asarray(image, np.float32)
    gray = np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
    mixed = 0.45 * pixels + 0.55 * segment_colors(labels)[ids]
    mixed = np.where((ids > 0)[..., None], mixed, 0.5 * gray)
    mixed[_borders(ids)] = 255
    drawn = Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
    pen, font = ImageDraw.Draw(drawn), label_font(image)
    for i, label in enumerate(labels):
        inside = np.nonzero(ids == i + 1)
        if len(inside[0]) < _NAMED_SHARE * ids.size:
            continue
        text = names[label] + ("" if scores is None else f" {100 * scores[i]:.0f}")
        at = _central_pixel(*inside)
        left, top, right, bottom = pen.textbbox(at, text, font=font, anchor="mm")
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=(255, 255, 255))
        pen.text(at, text, fill=(0, 0, 0), font=font, anchor="mm")
    return drawn


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


def plot_class_quality(names: Sequence[str], things: Sequence[bool], qualities: np.ndarray, output: Path) -> None:
    """Plot the PQ of each class in percent as sorted bars, with SQ and RQ as marks.

    Things and stuff have two colors. Classes without a value are left out.

    Args:
        names: names of the K classes.
        things: whether each class is a thing.
        qualities: PQ, SQ and RQ ``(3, K)``, NaN for classes without a value.
        output: the file.
    """
    order = [int(k) for k in np.argsort(-qualities[0], kind="stable") if not np.isnan(qualities[0][k])]
    figure = Figure(figsize=(max(7.0, 0.19 * len(order) + 2), 4.4), layout="constrained")
    axes, position = figure.subplots(), np.arange(len(order))
    for kind, color in (("things", "#2b6cb0"), ("stuff", "#38a169")):
        chosen = [i for i in position if bool(things[order[i]]) == (kind == "things")]
        axes.bar(chosen, qualities[0][[order[i] for i in chosen]], color=color, width=0.75, label=f"PQ, {kind}")
    for row, name, mark in ((1, "SQ", "_"), (2, "RQ", ".")):
        axes.plot(position, qualities[row][order], mark, color="black", markersize=7, label=name)
    axes.set_xticks(position, [names[k] for k in order], rotation=90, fontsize=7 if len(order) < 60 else 5)
    axes.set(ylabel="%", ylim=(0, 100), xlim=(-0.8, max(len(order), 1) - 0.2))
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(output, dpi=120)
