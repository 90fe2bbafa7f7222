"""What all drawings share: pictures enlarged, names that stay inside them and off each other, legends, sheets.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from PIL import Image, ImageDraw

from visionattn.drawing.palette import Color, text_color
from visionattn.drawing.text import font, readable, shortened

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

_SMALLEST, _LARGEST = 9, 40
_LONGEST = 32  # characters of a name
_LEGEND_ROWS = 40
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def enlargement(size: tuple[int, int], least_edge: int) -> int:
    """The whole number of times by which (width, height) grows so that its longer edge has ``least_edge`` pixels."""
    return max(1, -(-least_edge // max(size)))


def enlarged(image: Image.Image, times: int) -> Image.Image:
    """The image, a whole number of times as large."""
    size = times * image.width, times * image.height
    return image if times == 1 else image.resize(size, Image.Resampling.BICUBIC)


def enlarged_map(values: np.ndarray, times: int) -> np.ndarray:
    """Classes, numbers of segments or a mask ``(H, W)``, every pixel repeated."""
    return values if times == 1 else values.repeat(times, 0).repeat(times, 1)


def strips(height: int, rows: int = 512) -> Iterator[slice]:
    """Parts of an image from top to bottom; arithmetic in floats on a large one would take gigabytes at once."""
    return (slice(start, start + rows) for start in range(0, height, rows))


def text_size(size: tuple[int, int]) -> int:
    """Height in pixels of names on an image of (width, height)."""
    return min(max(_SMALLEST, round(max(size) / 48)), _LARGEST)


@dataclass
class Labels:
    """Names on one image, each inside it and, where there is room, off the names before it.

    Attributes:
        size: (width, height) of the image.
        taken: where names stand.
    """

    size: tuple[int, int]
    taken: list[Box] = field(default_factory=list)
    _written: list[tuple[str, int, Color]] = field(default_factory=list)

    def beside(self, box: Box, text: str, color: Color) -> None:
        """Add the name of a box: above or below it, or inside it where there is no room or another name stands."""
        left, top, right, bottom = box

        def corners(width: float, height: float) -> list[tuple[float, float]]:
            sides = [(x, y) for x in (left, right - width) for y in (top - height, bottom)]
            return [*sides, (left, top), (left, bottom - height), (right - width, top)]

        self._add(text, color, corners, box)

    def at(self, middle: tuple[float, float], text: str, color: Color) -> None:
        """Add a name around a point, or above or below it where another name stands."""

        def corners(width: float, height: float) -> list[tuple[float, float]]:
            x, y = middle[0] - width / 2, middle[1] - height / 2
            return [(x, y), (x, y - height), (x, y + height)]

        self._add(text, color, corners, (0, 0, 0, 0))

    def draw(self, pen: ImageDraw.ImageDraw) -> None:
        """Write all names on plates of their colors, those that were added first above the others."""
        for plate, (text, pixels, color) in zip(reversed(self.taken), reversed(self._written), strict=True):
            face = font(pixels, text)
            at = (plate[0] + max(1, pixels // 8), plate[1] + face.getmetrics()[0])
            pen.rectangle((plate[0], plate[1], plate[2] - 1, plate[3] - 1), fill=color)
            pen.text(at, text, fill=text_color(color), font=face, anchor="ls")

    def _add(
        self, text: str, color: Color, corners: Callable[[float, float], list[tuple[float, float]]], avoided: Box
    ) -> None:
        if not text:
            return
        text, pixels = self._fitting(shortened(text, _LONGEST))
        width, height = _width(text, pixels), sum(font(pixels, text).getmetrics())
        plates = [self._inside(x, y, width, height) for x, y in corners(width, height)]
        cost = [sum(_shared(plate, other) for other in self.taken) + 0.2 * _shared(plate, avoided) for plate in plates]
        plate = plates[int(np.argmin(cost))]
        self._written.append((text, pixels, color))
        self.taken.append(plate)

    def _fitting(self, text: str) -> tuple[str, int]:
        """The text and its size in pixels, smaller and then shorter until it is no wider than the image."""
        pixels = text_size(self.size)
        while pixels > _SMALLEST and _width(text, pixels) > self.size[0]:
            pixels -= 1
        for most in range(len(text), 0, -1):
            text = shortened(text, most)
            if _width(text, pixels) <= self.size[0]:
                break
        return text, pixels

    def _inside(self, left: float, top: float, width: float, height: float) -> Box:
        left = min(max(0.0, round(left)), max(0.0, self.size[0] - width))
        top = min(max(0.0, round(top)), max(0.0, self.size[1] - height))
        return left, top, left + width, top + height


def _width(text: str, pixels: int) -> int:
    return ceil(font(pixels, text).getlength(text)) + 2 * max(1, pixels // 8)


def _shared(one: Box, other: Box) -> float:
    """Pixels that two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def with_legend(
    image: Image.Image, entries: Sequence[tuple[str, Sequence[int]]], pixels: int | None = None
) -> Image.Image:
    """The image with a legend to its right: a patch of color and a name for each entry, in columns where it is low.

    Args:
        image: of any size.
        entries: name and color; beyond forty only their number is told.
        pixels: height of the letters; None: in proportion to the image.
    """
    if not entries:
        return image
    pixels = pixels or max(12, text_size(image.size))
    names = [shortened(readable(name), _LONGEST) for name, _ in entries[:_LEGEND_ROWS]]
    colors: list[Sequence[int] | None] = [color for _, color in entries[:_LEGEND_ROWS]]
    if len(entries) > _LEGEND_ROWS:
        names.append(f"and {len(entries) - _LEGEND_ROWS} more")
        colors.append(None)
    row, margin = round(1.5 * pixels), pixels // 2
    per_column = max(10, (image.height - 2 * margin) // row)
    columns = -(-len(names) // per_column)
    per_column = -(-len(names) // columns)
    width = max(int(font(pixels, name).getlength(name)) for name in names) + pixels + 3 * margin
    sheet = Image.new("RGB", (image.width + columns * width, max(image.height, per_column * row + 2 * margin)), _PAPER)
    sheet.paste(image, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for place, (name, color) in enumerate(zip(names, colors, strict=True)):
        left = image.width + (place // per_column) * width + margin
        top = margin + (place % per_column) * row
        if color is not None:
            red, green, blue = (int(value) for value in color)
            pen.rectangle((left, top, left + pixels, top + pixels), fill=(red, green, blue))
        middle = (left + pixels + margin, top + pixels / 2)
        pen.text(middle, name, fill=_INK, font=font(pixels, name), anchor="lm")
    return sheet


def sheet_of(tiles: Sequence[tuple[Image.Image, str]], *, columns: int, edge: int, title: str = "") -> Image.Image:
    """A sheet of images with a caption of up to three lines below each; images keep their aspect ratio.

    Args:
        tiles: image and caption.
        columns: images in a row.
        edge: pixels of the square that an image is scaled into.
        title: above the sheet.
    """
    pixels, gap = max(11, edge // 19), max(6, edge // 24)
    line, columns = round(1.35 * pixels), max(1, min(columns, len(tiles)))
    shown = [(_fitted(image, edge), _lines(caption, edge, pixels)) for image, caption in tiles]
    rows = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    heights = [max(image.height for image, _ in row) for row in rows]
    below = [line * max(len(words) for _, words in row) for row in rows]
    head = 2 * pixels + gap if title else 0
    width = max(columns * (edge + gap) + gap, 2 * edge if title else 0)
    sheet = Image.new("RGB", (width, head + sum(heights) + sum(below) + gap * (len(rows) + 1)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        text = readable(title)
        pen.text((gap, gap), text, fill=_INK, font=font(round(1.3 * pixels), text))
    top = head + gap
    for row, height, under in zip(rows, heights, below, strict=True):
        for column, (image, words) in enumerate(row):
            left = gap + column * (edge + gap)
            sheet.paste(image, (left + (edge - image.width) // 2, top + (height - image.height) // 2))
            for place, text in enumerate(words):
                pen.text((left, top + height + 1 + place * line), text, fill=_INK, font=font(pixels, text))
        top += height + under + gap
    return sheet


def _fitted(image: Image.Image, edge: int) -> Image.Image:
    """The image scaled into a square; tiny ones show their pixels."""
    factor = edge / max(image.size)
    mode = Image.Resampling.NEAREST if factor > 4 else Image.Resampling.LANCZOS
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), mode)


def _lines(caption: str, width: int, pixels: int) -> list[str]:
    """The first three lines of a caption, none wider than ``width``."""
    lines = []
    for words in caption.split("\n")[:3]:
        text = readable(words)
        most = len(text)
        while most > 1 and font(pixels, text).getlength(shortened(text, most)) > width:
            most -= 1
        lines.append(shortened(text, most))
    return lines
