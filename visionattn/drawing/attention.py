"""Maps of weights drawn over an image: what a token attends to, and which pixels it depends on.

Shapes: H W image, h w map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from visionattn.drawing.canvas import sheet_of
from visionattn.drawing.figures import color_map, empty_figure
from visionattn.drawing.text import font

_HEAT, _SIGNED, _FIELD = "inferno", "RdBu_r", "Blues"
_LINE, _TOKEN = (228, 228, 228), (221, 60, 32)
_MARK, _HALO = (64, 224, 255), (0, 0, 0)
_PADDING = ((205, 205, 205), (165, 165, 165))
_DIM, _LEAST, _MOST, _FLAT = 0.45, 0.35, 0.88, 0.75
TILE = 168
"""Pixels of the longer edge of a small picture."""


@dataclass(frozen=True)
class Weights:
    """Weights of the cells of a grid that lies over an image.

    Attributes:
        values: ``(h, w)``, not negative.
        cell: pixels of the image along each side of a cell.
        origin: (top, left) of the grid in pixels of the image, below 0 where padding stands before it.
        real: bool ``(h, w)``, which cells are no padding; None: all.
        flat: every cell above 0 counts the same, as of a mask: it gets one color that the image shines through.
    """

    values: np.ndarray
    cell: float
    origin: tuple[float, float] = (0.0, 0.0)
    real: np.ndarray | None = None
    flat: bool = False

    @property
    def padded(self) -> bool:
        """Whether some cells are padding."""
        return self.real is not None and not bool(self.real.all())


Box = tuple[float, float, float, float]
"""Top, left, bottom and right in pixels of the image."""


def draw_weights(image: Image.Image, weights: Weights, token: Box | None = None, edge: int = TILE) -> Image.Image:
    """Draw weights over an image, the largest in the brightest color; a cell of weight 0 keeps the image.

    Where cells are padding the picture grows beyond the image, and they are hatched in gray.

    Args:
        image: RGB.
        weights: of a grid over it.
        token: a rectangle to mark.
        edge: pixels of the picture's longer edge.
    """
    top, left, bottom, right = _extent(image, weights)
    scale = edge / max(bottom - top, right - left)
    height, width = (max(1, round(side * scale)) for side in (bottom - top, right - left))
    rows = (np.arange(height) + 0.5) / scale + top
    columns = (np.arange(width) + 0.5) / scale + left
    base = _picture(image, (height, width), (top, left), scale)
    value, covered, padding = _sampled(weights, rows, columns)
    shade = np.clip(value / max(float(weights.values.max()), 1e-30), 0, 1)
    if weights.flat:
        shade = np.where(value > 0, _FLAT, 0)
        alpha = np.where(covered & (value > 0), _LEAST, 0)[..., None]
    else:
        alpha = np.where(covered & (value > 0), _LEAST + (_MOST - _LEAST) * shade, 0)[..., None]
    outside = (rows[:, None] < 0) | (rows[:, None] >= image.height) | (columns < 0) | (columns >= image.width)
    base = np.where((padding | outside)[..., None], _hatch(height, width), base)
    drawn = Image.fromarray((base * (1 - alpha) + alpha * 255 * color_map(_HEAT)(shade)[..., :3]).astype(np.uint8))
    if token is not None:
        _mark(drawn, [(edge_ - start) * scale for edge_, start in zip(token, (top, left, top, left), strict=True)])
    return drawn


def _extent(image: Image.Image, weights: Weights) -> Box:
    """What is shown: the image, and the grid too where some of it is padding."""
    bottom, right = float(image.height), float(image.width)
    if not weights.padded:
        return 0.0, 0.0, bottom, right
    top, left = weights.origin
    rows, columns = weights.values.shape
    return (
        min(top, 0.0),
        min(left, 0.0),
        max(top + rows * weights.cell, bottom),
        max(left + columns * weights.cell, right),
    )


def _picture(image: Image.Image, size: tuple[int, int], start: tuple[float, float], scale: float) -> np.ndarray:
    """The image, gray and dim, at its place on a canvas ``(height, width)``."""
    shape = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    enlarged = scale > 3  # pixels of small images stay visible
    small = image.resize(shape, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
    color = np.asarray(small, np.float64)
    gray = color.mean(-1, keepdims=True)
    canvas = np.zeros((*size, 3))
    top, left = (max(0, round(-side * scale)) for side in start)
    height, width = min(size[0] - top, shape[1]), min(size[1] - left, shape[0])
    canvas[top : top + height, left : left + width] = (_DIM * color + (1 - _DIM) * gray)[:height, :width]
    return canvas


def _sampled(weights: Weights, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At each pixel the weight of its cell, whether there is one, and whether it is padding."""
    places = [
        np.floor((at - start) / weights.cell).astype(int)
        for at, start in zip((rows, columns), weights.origin, strict=True)
    ]
    inside = [(place >= 0) & (place < side) for place, side in zip(places, weights.values.shape, strict=True)]
    row, column = (np.clip(place, 0, side - 1) for place, side in zip(places, weights.values.shape, strict=True))
    covered = inside[0][:, None] & inside[1][None]
    real = np.ones(weights.values.shape, bool) if weights.real is None else weights.real
    return weights.values[row[:, None], column], covered, covered & ~real[row[:, None], column]


def _hatch(height: int, width: int) -> np.ndarray:
    stripes = (np.arange(height)[:, None] + np.arange(width)[None]) // 4 % 2
    return np.asarray(_PADDING, np.float64)[stripes]


def _mark(image: Image.Image, box: Sequence[float]) -> None:
    """A bright frame with a dark one around it; a tiny rectangle gets a frame of six pixels."""
    grow = [max(0.0, (6 - (box[2 + axis] - box[axis])) / 2) for axis in (0, 1)]
    top, left, bottom, right = box[0] - grow[0], box[1] - grow[1], box[2] + grow[0], box[3] + grow[1]
    pen = ImageDraw.Draw(image)
    pen.rectangle((left - 1, top - 1, right, bottom), outline=_HALO, width=1)
    pen.rectangle((left, top, right - 1, bottom - 1), outline=_MARK, width=1 if right - left < 24 else 2)


def draw_points(image: Image.Image, points: Sequence[tuple[float, float]], edge: int = 480) -> Image.Image:
    """The image with numbered points, each given as (row, column) in shares of its height and width."""
    scale = edge / max(image.size)
    mode = Image.Resampling.NEAREST if scale > 3 else Image.Resampling.LANCZOS
    drawn = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), mode)
    pen, pixels = ImageDraw.Draw(drawn), 18
    for number, (row, column) in enumerate(points, 1):
        y, x = (
            min(max(share * side, 11), side - 12) for share, side in zip((row, column), drawn.size[::-1], strict=True)
        )
        pen.ellipse((x - 11, y - 11, x + 11, y + 11), fill=_HALO, outline=_MARK, width=2)
        pen.text((x, y), str(number), fill=_MARK, font=font(pixels, str(number)), anchor="mm")
    return drawn


def draw_field(values: np.ndarray, token: tuple[int, int], cell: int = 7) -> Image.Image:
    """A map of weights ``(h, w)`` alone: white where a weight is zero, darker with its share of the largest ones.

    Args:
        values: not negative.
        token: row and column of the cell to mark.
        cell: pixels along each side of a cell; one of them is a line.
    """
    strong = max(float(np.quantile(values[values > 0], 0.9)) if values.any() else 0.0, 1e-30)
    shade = 0.25 + 0.75 * np.clip(values / strong, 0, 1)
    color = np.where((values > 0)[..., None], 255 * color_map(_FIELD)(shade)[..., :3], 255).astype(np.uint8)
    pixels = color.repeat(cell, 0).repeat(cell, 1)
    pixels[cell - 1 :: cell], pixels[:, cell - 1 :: cell] = _LINE, _LINE
    drawn = Image.fromarray(pixels)
    top, left = (place * cell for place in token)
    ImageDraw.Draw(drawn).rectangle((left - 1, top - 1, left + cell - 1, top + cell - 1), outline=_TOKEN, width=2)
    return drawn


def draw_outline(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """The image with a box: left, top, right and bottom in pixels."""
    drawn = image.copy()
    left, top, right, bottom = box
    _mark(drawn, (top, left, bottom, right))
    return drawn


def draw_table(values: np.ndarray, largest: float, edge: int = TILE) -> Image.Image:
    """Values of both signs ``(h, w)``, blue below zero and red above, each a square; ``largest`` has the full color."""
    shades = color_map(_SIGNED)(np.clip(0.5 + values / (2 * max(largest, 1e-30)), 0, 1))[..., :3]
    small = Image.fromarray((255 * shades).astype(np.uint8))
    factor = max(1, edge // max(small.size))
    return small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)


def save_sheet(
    tiles: Sequence[tuple[Image.Image, str]], file: Path, *, columns: int, title: str, edge: int = TILE
) -> None:
    """Save pictures with captions as one PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet_of(tiles, columns=columns, edge=edge, title=title).save(file)


def plot_heads(figures: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str], file: Path) -> None:
    """Plot a dot for each head over the blocks, and their mean as a line; one panel for each figure.

    Args:
        figures: name of the figure -> the values of all heads, block by block.
        names: of the blocks.
        file: the plot.
    """
    width = max(4.2, 0.36 * len(names) + 1.2)
    figure = empty_figure(width * len(figures), 3.8)
    for axes, (name, blocks) in zip(figure.subplots(1, len(figures), squeeze=False)[0], figures.items(), strict=True):
        for place, values in enumerate(blocks):
            axes.plot([place] * len(values), values, "o", color="#2b6cb0", alpha=0.45, markersize=4, linewidth=0)
        means = [float(np.mean(values)) if len(values) else float("nan") for values in blocks]
        axes.plot(range(len(blocks)), means, color="#dd6b20", linewidth=1.6, label="mean of the heads")
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
