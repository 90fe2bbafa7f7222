"""Plots of class maps: overlays, sheets of them, IoU and frequency of each class.

Shapes: H W image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

_BLUE, _ORANGE = "#2b6cb0", "#dd6b20"
_BORDER = 6


def overlay(image: np.ndarray, classes: np.ndarray, palette: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """The image with its classes in color; pixels without a class stay gray.

    Args:
        image: uint8 ``(H, W, 3)``.
        classes: ``(H, W)``, 0..K-1; larger values are no class.
        palette: uint8 ``(K, 3)``.
        alpha: weight of the colors.
    """
    known = classes < len(palette)
    colors = palette[np.where(known, classes, 0)].astype(np.float32)
    mixed = (1 - alpha) * image + alpha * colors
    gray = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.where(known[..., None], mixed, 0.5 * gray).round().clip(0, 255).astype(np.uint8)


def with_legend(image: Image.Image, entries: Sequence[tuple[str, Sequence[int]]]) -> Image.Image:
    """The image with a legend to its right: a patch of color and a name for each entry."""
    if not entries:
        return image
    font: Any = ImageFont.load_default(size=12)
    width = max(int(font.getlength(name)) for name, _ in entries) + 3 * _BORDER + 12
    height = max(image.height, 18 * len(entries) + 2 * _BORDER)
    sheet = Image.new("RGB", (image.width + width, height), "white")
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for row, (name, (red, green, blue)) in enumerate(entries):
        left, top = image.width + _BORDER, _BORDER + 18 * row
        draw.rectangle((left, top + 1, left + 12, top + 13), fill=(int(red), int(green), int(blue)))
        draw.text((left + 12 + _BORDER, top), name, fill="black", font=font)
    return sheet


def palette_image(classes: np.ndarray, palette: np.ndarray) -> Image.Image:
    """An 8-bit image with a palette: the stored values are the classes, and viewers show the colors."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    image = Image.fromarray(classes.astype(np.uint8))
    image.putpalette(table.reshape(-1).tolist())
    return image


def plot_overlays(
    samples: Sequence[tuple[Any, np.ndarray, str]], palette: np.ndarray, names: Sequence[str], output: Path
) -> None:
    """Plot a sheet of images, each beside its overlay, with a legend of the classes that occur.

    Args:
        samples: (image, classes ``(H, W)``, caption).
        palette: uint8 ``(K, 3)``.
        names: names of the classes.
        output: the file.
    """
    columns = 3
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(5 * columns, 2.7 * rows + 0.9), layout="constrained")
    grid = np.atleast_2d(figure.subplots(rows, 2 * columns, squeeze=False)).reshape(-1, 2)
    for axes in grid.ravel():
        axes.axis("off")
    seen = np.zeros(len(names), bool)
    for (left, right), (image, classes, caption) in zip(grid, samples, strict=False):
        pixels = np.asarray(image)
        left.imshow(pixels)
        right.imshow(overlay(pixels, classes, palette))
        left.set_title(caption.rpartition("/")[2][:34], fontsize=7)
        seen |= np.bincount(classes.reshape(-1), minlength=256)[: len(names)] > 0
    _legend(figure, names, palette, seen)
    figure.savefig(output, dpi=110)


def plot_comparison(
    samples: Sequence[tuple[Any, np.ndarray, np.ndarray, str]], palette: np.ndarray, names: Sequence[str], output: Path
) -> None:
    """Plot a sheet of triples: image, target, prediction.

    Args:
        samples: (image, target classes ``(H, W)``, predicted classes ``(H, W)``, caption).
        palette: uint8 ``(K, 3)``.
        names: names of the classes.
        output: the file.
    """
    rows = max(-(-len(samples) // 2), 1)
    figure = Figure(figsize=(13, 2.3 * rows + 0.9), layout="constrained")
    grid = figure.subplots(rows, 6, squeeze=False).reshape(-1, 3)
    for axes in grid.ravel():
        axes.axis("off")
    seen = np.zeros(len(names), bool)
    for (first, second, third), (image, target, prediction, caption) in zip(grid, samples, strict=False):
        pixels = np.asarray(image)
        first.imshow(pixels)
        second.imshow(overlay(pixels, target, palette))
        third.imshow(overlay(pixels, prediction, palette))
        for axes, title in zip((first, second, third), (caption, "target", "prediction"), strict=True):
            axes.set_title(title[:40], fontsize=7)
        for classes in (target, prediction):
            seen |= np.bincount(classes.reshape(-1), minlength=256)[: len(names)] > 0
    _legend(figure, names, palette, seen)
    figure.savefig(output, dpi=110)


def plot_class_iou(names: Sequence[str], iou: np.ndarray, mean: float, output: Path) -> None:
    """Plot the IoU of each class in percent as sorted bars; classes without a value are left out.

    Args:
        names: names of the classes.
        iou: ``(K,)``, NaN for classes without a value.
        mean: mean over the classes with a value.
        output: the file.
    """
    order = [int(k) for k in np.argsort(-iou, kind="stable") if not np.isnan(iou[k])]
    figure = Figure(figsize=(max(7.0, 0.19 * len(order) + 2), 4.4), layout="constrained")
    axes = figure.subplots()
    position = np.arange(len(order))
    axes.bar(position, iou[order], color=_BLUE, width=0.75)
    axes.axhline(mean, color=_ORANGE, linewidth=1.2)
    axes.annotate(f"mIoU {mean:.2f}", (len(order) - 0.5, mean), ha="right", va="bottom", color=_ORANGE)
    axes.set_xticks(position, [names[k] for k in order], rotation=90, fontsize=7 if len(order) < 60 else 5)
    axes.set(ylabel="IoU (%)", ylim=(0, 100), xlim=(-0.8, len(order) - 0.2))
    axes.grid(axis="y", alpha=0.25)
    figure.savefig(output, dpi=120)


def _legend(figure: Figure, names: Sequence[str], palette: np.ndarray, seen: np.ndarray) -> None:
    from matplotlib.patches import Patch

    shown = np.flatnonzero(seen)[:40]
    patches = [Patch(color=palette[k] / 255, label=names[k]) for k in shown]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=10, fontsize=7, frameon=False)


def plot_class_shares(
    names: Sequence[str], pixels: np.ndarray, images: np.ndarray, expected: np.ndarray | None, output: Path
) -> None:
    """Plot the frequency of each class on a logarithmic scale.

    Args:
        names: names of the classes.
        pixels: shares of pixels ``(K,)``.
        images: shares of the images that contain the class ``(K,)``.
        expected: published shares of pixels ``(K,)``.
        output: the file.
    """
    figure = Figure(figsize=(max(7.0, 0.19 * len(names) + 2), 4.6), layout="constrained")
    axes = figure.subplots()
    position = np.arange(len(names))
    axes.bar(position, np.maximum(pixels, 1e-7), color=_BLUE, width=0.75, label="share of pixels")
    axes.plot(position, np.maximum(images, 1e-7), ".", color=_ORANGE, markersize=5, label="share of images with it")
    if expected is not None:
        axes.plot(
            position, np.maximum(expected, 1e-7), "_", color="black", markersize=8, label="published share of pixels"
        )
    axes.set_yscale("log")
    axes.set_xticks(position, names, rotation=90, fontsize=7 if len(names) < 60 else 5)
    axes.set_xlim(-0.8, len(names) - 0.2)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(output, dpi=120)
