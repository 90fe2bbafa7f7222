"""Pictures of detection: objects drawn on images, sizes of images and objects, average precision per class.

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

_BLUE, _GREY = "#2b6cb0", "#4a5568"
Colour = tuple[int, int, int]


def class_colour(label: int) -> Colour:
    """A colour for a class; neighbours in number are far apart in hue."""
    red, green, blue = colorsys.hsv_to_rgb((label * 0.618034) % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_objects(
    picture: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    masks: Sequence[np.ndarray] | None = None,
    least_edge: int = 0,
) -> Image.Image:
    """A copy of an RGB picture with boxes ``(N, 4)`` as x1 y1 x2 y2, names, scores and masks ``(H, W)`` on it.

    A picture whose longer edge is below ``least_edge`` is enlarged a whole number of times first, so that names do not
    hide its objects.
    """
    times = max(1, -(-least_edge // max(picture.size)))
    if times > 1:
        picture = picture.resize((times * picture.width, times * picture.height), Image.Resampling.BICUBIC)
        masks = None if masks is None else [np.kron(mask, np.ones((times, times), np.uint8)) for mask in masks]
        boxes = times * boxes
    pixels = np.asarray(picture, np.float32).copy()
    for mask, label in zip(masks if masks is not None else (), labels, strict=False):
        inside = np.asarray(mask, bool)
        pixels[inside] = 0.55 * pixels[inside] + 0.45 * np.array(class_colour(label), np.float32)
    drawn = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    line = max(1, round(max(picture.size) / 400))
    font = ImageFont.load_default(max(9, round(max(picture.size) / 45)))
    for place, (box, label) in enumerate(zip(boxes.tolist(), labels, strict=True)):
        colour = class_colour(label)
        pen.rectangle(_upright(box), outline=colour, width=line)
        text = names[label] + ("" if scores is None else f" {100 * scores[place]:.0f}")
        left, top, right, bottom = pen.textbbox((box[0], box[1]), text, font=font)
        down = max(0.0, bottom - top - box[1])  # keep the name inside the picture
        top, bottom = box[1] - (bottom - top) + down - 2, box[1] + down
        pen.rectangle((left, top, right + 2, bottom + 1), fill=colour)
        pen.text((left + 1, top), text, fill=(0, 0, 0), font=font)
    return drawn


def _upright(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left, top, max(left, right), max(top, bottom)


def plot_comparison(rows: Sequence[tuple[str, Image.Image, Image.Image]], output: Path) -> None:
    """A sheet of (name, truth, prediction), side by side, three pairs in a row."""
    columns = 3
    lines = max(-(-len(rows) // columns), 1)
    figure = Figure(figsize=(4.4 * columns, 2.5 * lines + 0.3), layout="constrained")
    grid = np.atleast_1d(figure.subplots(lines, 2 * columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    for place, (name, truth, said) in enumerate(rows):
        for axes, drawn, title in zip(
            grid[2 * place : 2 * place + 2], (truth, said), ("truth", "prediction"), strict=True
        ):
            axes.imshow(drawn)
            axes.set_title(f"{title}, {name}" if title == "truth" else title, fontsize=7)
    figure.savefig(output, dpi=150)


def plot_class_ap(names: Sequence[str], figures: Mapping[str, Sequence[float]], output: Path) -> None:
    """Average precision of every class in percent, one bar per kind (``box``, ``mask``), the best class on top."""
    first = np.nan_to_num(np.array(next(iter(figures.values())), float))
    order = np.argsort(first)
    figure = Figure(figsize=(7, max(2.5, 0.22 * len(names) * len(figures) + 1)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(figures)
    for place, (kind, values) in enumerate(figures.items()):
        axes.barh(
            np.arange(len(names)) - place * height, np.nan_to_num(np.array(values, float))[order], height, label=kind
        )
    axes.set_yticks(np.arange(len(names)), [names[i] for i in order], fontsize=8)
    axes.set(xlabel="average precision (%)", xlim=(0, 100))
    axes.grid(axis="x", alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(output, dpi=120)


def plot_sizes(sizes: np.ndarray, per_image: np.ndarray, output: Path) -> None:
    """Sizes of the images ``(I, 2)``, and how many objects they have ``(I,)``."""
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
    """Areas of the objects with COCO's bounds of small and large, shapes of their boxes ``(N, 2)``, and classes."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    positive = areas[areas > 0]
    if len(positive):
        left.hist(np.sqrt(positive), bins=np.geomspace(1, max(float(np.sqrt(positive.max())), 2), 40), color=_BLUE)
        left.set_xscale("log")
    for edge, name in ((32, "small | medium"), (96, "medium | large")):
        left.axvline(edge, color=_GREY, linestyle="--")
        left.text(edge, left.get_ylim()[1], name, rotation=90, va="top", ha="right", fontsize=7)
    left.set(xlabel="square root of the area (pixels)", ylabel="objects", title=f"{len(areas):,} objects")
    middle.scatter(extents[:, 0], extents[:, 1], s=3, alpha=0.2, color=_BLUE)
    middle.set(xlabel="box width (pixels)", ylabel="box height (pixels)", title="Boxes")
    order = np.argsort(counts)[::-1][:40]
    right.bar(range(len(order)), counts[order], color=_BLUE)
    right.set_xticks(range(len(order)), [str(names[i]) for i in order], rotation=90, fontsize=6)
    right.set(ylabel="objects", title="Classes" + (" (the 40 most frequent)" if len(names) > 40 else ""))
    figure.savefig(output, dpi=120)
