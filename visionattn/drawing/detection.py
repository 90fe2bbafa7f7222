"""Plots of detection: objects drawn on images, sizes of images and objects, average precision per class.

Shapes: H W image, N objects, I images, K classes.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
_BLUE, _GRAY = "#2b6cb0", "#4a5568"
_MASK_WEIGHT = 0.45


def class_color(label: int) -> Color:
    """The color of a class; consecutive classes differ much in hue."""
    red, green, blue = colorsys.hsv_to_rgb((label * 0.618034) % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def enlargement(image: Image.Image, least_edge: int) -> int:
    """The whole number of times by which an image grows so that its longer edge has ``least_edge`` pixels."""
    return max(1, -(-least_edge // max(image.size)))


def enlarged(image: Image.Image, times: int) -> Image.Image:
    """The image, a whole number of times as large."""
    size = times * image.width, times * image.height
    return image if times == 1 else image.resize(size, Image.Resampling.BICUBIC)


def label_font(image: Image.Image) -> Any:
    """A font for names on the image, in proportion to its size."""
    return ImageFont.load_default(max(9, round(max(image.size) / 45)))


def draw_objects(
    image: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    masks: Sequence[np.ndarray] | None = None,
    least_edge: int = 0,
) -> Image.Image:
    """Draw boxes, masks, names and scores on a copy of an RGB image.

    Names stand above their boxes where there is room; the colors of overlapping masks mix.

    Args:
        image: of any size.
        boxes: ``(N, 4)`` as x1 y1 x2 y2.
        labels: classes of the N objects.
        names: names of the K classes.
        scores: scores of the objects, 0 to 1.
        masks: N masks ``(H, W)``.
        least_edge: an image whose longer edge is shorter is enlarged a whole number of times first, so that names do
            not hide the objects.
    """
    times = enlargement(image, least_edge)
    image = enlarged(image, times)
    pixels = np.asarray(image, np.float32).copy()
    for mask, label in zip(masks if masks is not None else (), labels, strict=False):
        inside = np.kron(mask, np.ones((times, times), np.uint8)).astype(bool)
        pixels[inside] = (1 - _MASK_WEIGHT) * pixels[inside] + _MASK_WEIGHT * np.array(class_color(label), np.float32)
    drawn = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    pen, font = ImageDraw.Draw(drawn), label_font(image)
    for i, (box, label) in enumerate(zip((times * boxes).tolist(), labels, strict=True)):
        pen.rectangle(_upright(box), outline=class_color(label), width=max(1, round(max(image.size) / 400)))
        text = names[label] + ("" if scores is None else f" {100 * scores[i]:.0f}")
        _write_above(pen, (box[0], box[1]), text, class_color(label), font)
    return drawn


def _upright(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left, top, max(left, right), max(top, bottom)


def _write_above(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, color: Color, font: Any) -> None:
    """Write a name above a box, or at the upper edge of the image where there is no room."""
    left, top, right, bottom = pen.textbbox(corner, text, font=font)
    height, down = bottom - top, max(0.0, bottom - top - corner[1])
    top = corner[1] - height + down - 2
    pen.rectangle((left, top, right + 2, corner[1] + down + 1), fill=color)
    pen.text((left + 1, top), text, fill=(0, 0, 0), font=font)


def plot_comparison(rows: Sequence[tuple[str, Image.Image, Image.Image]], output: Path) -> None:
    """Plot a sheet of (name, target, prediction), three pairs in a row."""
    columns = 3
    lines = max(-(-len(rows) // columns), 1)
    figure = Figure(figsize=(4.4 * columns, 2.5 * lines + 0.3), layout="constrained")
    grid = np.atleast_1d(figure.subplots(lines, 2 * columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    pairs = grid.reshape(-1, 2)
    for (left, right), (name, target, prediction) in zip(pairs, rows, strict=False):
        left.imshow(target)
        left.set_title(f"target, {name}", fontsize=7)
        right.imshow(prediction)
        right.set_title("prediction", fontsize=7)
    figure.savefig(output, dpi=150)


def plot_class_ap(names: Sequence[str], figures: Mapping[str, Sequence[float]], output: Path) -> None:
    """Plot the average precision of each class in percent, a bar per kind (``box``, ``mask``), sorted."""
    first = np.nan_to_num(np.array(next(iter(figures.values())), float))
    order = np.argsort(first)
    figure = Figure(figsize=(7, max(2.5, 0.22 * len(names) * len(figures) + 1)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(figures)
    for i, (kind, values) in enumerate(figures.items()):
        widths = np.nan_to_num(np.array(values, float))[order]
        axes.barh(np.arange(len(names)) - i * height, widths, height, label=kind)
    axes.set_yticks(np.arange(len(names)), [names[i] for i in order], fontsize=8)
    axes.set(xlabel="average precision (%)", xlim=(0, 100))
    axes.grid(axis="x", alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(output, dpi=120)


def plot_sizes(sizes: np.ndarray, per_image: np.ndarray, output: Path) -> None:
    """Plot the sizes of the images ``(I, 2)`` and their numbers of objects ``(I,)``."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
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
    figure = Figure(figsize=(13, 3.8), layout="constrained")
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
    right.bar(range(len(order)), counts[order], color=_BLUE)
    right.set_xticks(range(len(order)), [str(names[i]) for i in order], rotation=90, fontsize=6)
    right.set(ylabel="objects", title="Classes" + (" (the 40 most frequent)" if len(names) > 40 else ""))
    figure.savefig(output, dpi=120)
