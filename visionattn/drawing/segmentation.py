"""Class maps drawn on images: overlays, images with a palette, and plots of the classes of a data set.

Shapes: H W image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visionattn.drawing.canvas import enlarged, enlarged_map, enlargement, sheet_of, strips, with_legend
from visionattn.drawing.figures import empty_figure
from visionattn.drawing.palette import is_background
from visionattn.drawing.text import drawable, for_plot

_BLUE, _ORANGE = "#2b6cb0", "#dd6b20"
_EDGE = 300


def backgrounds(names: Sequence[str]) -> tuple[int, ...]:
    """Classes that are not painted: the first one, if its name says that it is the background."""
    return (0,) if len(names) > 1 and is_background(names[0]) else ()


def overlay(
    image: np.ndarray, classes: np.ndarray, palette: np.ndarray, alpha: float = 0.6, clear: Sequence[int] = ()
) -> np.ndarray:
    """The image with its classes in color; pixels without a class become gray and darker.

    Args:
        image: uint8 ``(H, W, 3)``.
        classes: ``(H, W)``, 0..K-1; larger values are no class.
        palette: uint8 ``(K, 3)``.
        alpha: weight of the colors.
        clear: classes whose pixels stay as they are, see :func:`backgrounds`.
    """
    drawn = np.empty_like(image)
    for part in strips(len(image)):
        drawn[part] = _mixed(image[part], classes[part], palette, alpha, clear)
    return drawn


def _mixed(
    image: np.ndarray, classes: np.ndarray, palette: np.ndarray, alpha: float, clear: Sequence[int]
) -> np.ndarray:
    known = classes < len(palette)
    colors = palette[np.where(known, classes, 0)].astype(np.float32)
    weight = np.where(np.isin(classes, list(clear)), 0.0, alpha).astype(np.float32)[..., None]
    mixed = (1 - weight) * image + weight * colors
    gray = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.where(known[..., None], mixed, 0.5 * gray).round().clip(0, 255).astype(np.uint8)


def draw_classes(
    image: Image.Image, classes: np.ndarray, palette: np.ndarray, names: Sequence[str], least_edge: int = 0
) -> Image.Image:
    """A class map over its RGB image, with a legend of the classes that occur, the largest first.

    Args:
        image: of any size.
        classes: ``(H, W)``, 0..K-1; larger values are no class.
        palette: uint8 ``(K, 3)``.
        names: names of the classes; a background stays transparent.
        least_edge: an image whose longer edge is shorter is enlarged a whole number of times first.
    """
    times = enlargement(image.size, least_edge)
    pixels = np.asarray(enlarged(image, times))
    drawn = Image.fromarray(overlay(pixels, enlarged_map(classes, times), palette, clear=backgrounds(names)))
    return with_legend(drawn, legend_of([classes], palette, names))


def legend_of(maps: Sequence[np.ndarray], palette: np.ndarray, names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Name and color of the classes that occur in maps and are painted, the most frequent first."""
    counts = np.zeros(256, np.int64)
    for classes in maps:
        counts += np.bincount(classes.reshape(-1).astype(np.int64), minlength=256)[:256]
    counts = counts[: len(names)]
    counts[list(backgrounds(names))] = 0
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    shown = drawable(names)
    return [(shown[k], palette[k].tolist()) for k in order]


def palette_image(classes: np.ndarray, palette: np.ndarray) -> Image.Image:
    """An 8-bit image with a palette: the stored values are the classes, and viewers show the colors."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette[:256]
    image = Image.fromarray(classes.astype(np.uint8))
    image.putpalette(table.reshape(-1).tolist())
    return image


def plot_overlays(
    samples: Sequence[tuple[Any, np.ndarray, str]], palette: np.ndarray, names: Sequence[str], output: Path
) -> None:
    """Draw a sheet of images, each beside its overlay, with a legend of the classes that occur.

    Args:
        samples: (image, classes ``(H, W)``, caption).
        palette: uint8 ``(K, 3)``.
        names: names of the classes.
        output: the file.
    """
    rows = [(image, [("", classes)], caption) for image, classes, caption in samples]
    _save_sheet(rows, palette, names, columns=6, output=output)


def plot_comparison(
    samples: Sequence[tuple[Any, np.ndarray, np.ndarray, str]], palette: np.ndarray, names: Sequence[str], output: Path
) -> None:
    """Draw a sheet of triples: image, target, prediction.

    Args:
        samples: (image, target classes ``(H, W)``, predicted classes ``(H, W)``, caption).
        palette: uint8 ``(K, 3)``.
        names: names of the classes.
        output: the file.
    """
    rows = [
        (image, [("target", target), ("prediction", prediction)], caption)
        for image, target, prediction, caption in samples
    ]
    _save_sheet(rows, palette, names, columns=6, output=output)


def _save_sheet(
    rows: Sequence[tuple[Any, list[tuple[str, np.ndarray]], str]],
    palette: np.ndarray,
    names: Sequence[str],
    columns: int,
    output: Path,
) -> None:
    tiles, clear = [], backgrounds(names)
    for image, maps, caption in rows:
        pixels = np.asarray(image)
        tiles.append((Image.fromarray(pixels), caption.rpartition("/")[2]))
        tiles += [(Image.fromarray(overlay(pixels, one, palette, clear=clear)), title) for title, one in maps]
    entries = legend_of([one for _, maps, _ in rows for _, one in maps], palette, names)
    with_legend(sheet_of(tiles, columns=columns, edge=_EDGE), entries, pixels=20).save(output)


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
    figure = empty_figure(max(7.0, 0.19 * len(names) + 2), 4.6)
    axes = figure.subplots()
    position = np.arange(len(names))
    axes.bar(position, np.maximum(pixels, 1e-7), color=_BLUE, width=0.75, label="share of pixels")
    axes.plot(position, np.maximum(images, 1e-7), ".", color=_ORANGE, markersize=5, label="share of images with it")
    if expected is not None:
        axes.plot(
            position, np.maximum(expected, 1e-7), "_", color="black", markersize=8, label="published share of pixels"
        )
    axes.set_yscale("log")
    axes.set_xticks(position, for_plot(names), rotation=90, fontsize=7 if len(names) < 60 else 5)
    axes.set_xlim(-0.8, len(names) - 0.2)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(loc="upper right", frameon=False, fontsize=8)
    figure.savefig(output, dpi=120)
