"""Objects drawn on images, and plots of a detection data set: sizes of images and objects.

Shapes: H W image, N objects, I images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from visionattn.drawing.canvas import Box, Labels, enlarged, enlarged_map, enlargement
from visionattn.drawing.figures import empty_figure
from visionattn.drawing.palette import Color, class_color
from visionattn.drawing.text import drawable, for_plot

_BLUE, _GRAY = "#2b6cb0", "#4a5568"
_MASK_WEIGHT = 0.45


def draw_objects(
    image: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    masks: Iterable[np.ndarray] | None = None,
    least_edge: int = 0,
) -> Image.Image:
    """Draw boxes, masks, names and scores on a copy of an RGB image.

    A name stands above its box, else below or inside it, where it covers no other name; it is never cut. The colors of
    overlapping masks mix.

    Args:
        image: of any size.
        boxes: ``(N, 4)`` as x1 y1 x2 y2.
        labels: classes of the N objects.
        names: names of the K classes.
        scores: scores of the objects, 0 to 1; names of higher ones are placed first.
        masks: N masks ``(H, W)``; of an iterator one is taken at a time.
        least_edge: an image whose longer edge is shorter is enlarged a whole number of times first, so that names do
            not hide the objects.
    """
    times = enlargement(image.size, least_edge)
    image = enlarged(image, times)
    pixels = np.asarray(image).copy()
    for mask, label in zip(masks if masks is not None else (), labels, strict=False):
        _paint(pixels, mask, class_color(label), times)
    drawn = Image.fromarray(pixels)
    corners = [_upright(box) for box in (times * boxes).tolist()]
    width = max(2 if max(image.size) > 200 else 1, round(max(image.size) / 400))
    for box, label in zip(corners, labels, strict=True):
        _draw_box(ImageDraw.Draw(drawn), box, class_color(label), width)
    _write_names(drawn, corners, labels, drawable(names), scores)
    return drawn


def _write_names(
    image: Image.Image,
    boxes: Sequence[Box],
    labels: Sequence[int],
    names: Sequence[str],
    scores: Sequence[float] | None,
) -> None:
    order = sorted(range(len(boxes)), key=lambda i: -scores[i]) if scores is not None else range(len(boxes))
    writer = Labels(image.size)
    for i in order:
        text = names[labels[i]] + ("" if scores is None else f" {100 * scores[i]:.0f}%")
        writer.beside(boxes[i], text, class_color(labels[i]))
    writer.draw(ImageDraw.Draw(image))


def _paint(pixels: np.ndarray, mask: np.ndarray, color: Color, times: int) -> None:
    """Mix a color into the pixels of a mask, in place; only where the mask has any."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = enlarged_map(mask[part] > 0, times)
    shown = pixels[times * rows[0] : times * (rows[-1] + 1), times * columns[0] : times * (columns[-1] + 1)]
    mixed = (1 - _MASK_WEIGHT) * shown[inside].astype(np.float32) + _MASK_WEIGHT * np.array(color, np.float32)
    shown[inside] = mixed.round().astype(np.uint8)


def _draw_box(pen: ImageDraw.ImageDraw, box: Box, color: Color, width: int) -> None:
    """A box in its color with a thin dark edge, which shows on light and on dark pictures."""
    left, top, right, bottom = box
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=(0, 0, 0), width=1)
    pen.rectangle(box, outline=color, width=width)


def _upright(box: Sequence[float]) -> Box:
    left, top, right, bottom = box
    return left, top, max(left, right), max(top, bottom)


def plot_sizes(sizes: np.ndarray, per_image: np.ndarray, output: Path) -> None:
    """Plot the sizes of the images ``(I, 2)`` and their numbers of objects ``(I,)``."""
    figure = empty_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    left.scatter(sizes[:, 1], sizes[:, 0], s=4, alpha=0.3, color=_BLUE)
    left.set(xlabel="width (pixels)", ylabel="height (pixels)", title=f"{len(sizes):,} images")
    right.hist(per_image, bins=np.arange(-0.5, int(per_image.max(initial=0)) + 1.5), color=_BLUE)
    right.set(xlabel="objects", ylabel="images", title="Objects per image")
    figure.savefig(output, dpi=120)


def plot_objects(
    extents: np.ndarray, areas: np.ndarray, counts: np.ndarray, names: Sequence[Any], output: Path
) -> None:
    """Plot the areas of the objects with COCO's bounds of small and large, box sizes ``(N, 2)``, and class counts."""
    figure = empty_figure(13, 3.8)
    left, middle, right = figure.subplots(1, 3)
    positive = areas[areas > 0]
    if len(positive):
        left.hist(np.sqrt(positive), bins=np.geomspace(1, max(float(np.sqrt(positive.max())), 2), 40), color=_BLUE)
        left.set_xscale("log")
    for edge, name in ((32, "small | medium"), (96, "medium | large")):
        left.axvline(edge, color=_GRAY, linestyle="--")
        left.text(edge, left.get_ylim()[1], name, rotation=90, va="top", ha="right", fontsize=7)
    left.set(xlabel="square root of the area (pixels)", ylabel="objects", title=f"{len(areas):,} objects")
    middle.scatter(extents[:, 0], extents[:, 1], s=3, alpha=0.2, color=_BLUE)
    middle.set(xlabel="box width (pixels)", ylabel="box height (pixels)", title="Boxes")
    order = np.argsort(counts)[::-1][:40]
    shown = for_plot([str(name) for name in names])
    right.bar(range(len(order)), counts[order], color=_BLUE)
    right.set_xticks(range(len(order)), [shown[i] for i in order], rotation=90, fontsize=6)
    right.set(ylabel="objects", title="Classes" + (" (the 40 most frequent)" if len(names) > 40 else ""))
    figure.savefig(output, dpi=120)
