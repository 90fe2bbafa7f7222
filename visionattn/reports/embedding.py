"""Images inside a file: as data URIs of a limited edge, and only as many as there is room for.

Shapes: H W image, n items.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from visionattn.errors import counted

Pixels = Image.Image | np.ndarray
"""An RGB or gray image: of PIL, or uint8 ``(H, W, 3)`` or ``(H, W)``."""

_QUALITY = 80


@dataclass
class Embedding:
    """How images are embedded in one try to write a report, and what it left out.

    Attributes:
        edge: longer edge of a photograph in pixels; a picture with lines and letters may have twice as many.
        share: part of the samples of a section that is shown, at least one of them; 0: no image at all.
        left_out: images that were not embedded.
    """

    edge: int = 320
    share: float = 1.0
    left_out: int = field(default=0, init=False)

    def room_for(self, count: int) -> int:
        """Return how many of some images are embedded, and note the others."""
        kept = 0 if self.share == 0 else min(count, max(1, round(self.share * count)))
        self.left_out += count - kept
        return kept

    def photograph(self, image: Pixels, times: float = 1) -> str:
        """Return an image as the data URI of a WebP file.

        Args:
            image: of any size.
            times: factor on the edge, for an image that is looked at more closely than a sample.
        """
        shrunk = shrink(as_rgb(image), round(times * self.edge))
        return _uri(shrunk, "webp", quality=_QUALITY, method=2)

    def drawing(self, image: Pixels) -> str:
        """Return a picture with lines and letters as the data URI of a WebP file, at up to three times the edge."""
        return _uri(shrink(as_rgb(image), 3 * self.edge), "webp", quality=_QUALITY + 8, method=2)

    def regions(self, ids: np.ndarray, colors: np.ndarray) -> str:
        """Return regions as a transparent PNG file.

        Args:
            ids: int ``(H, W)``: 0 for nothing, then 1 to n.
            colors: uint8 ``(n, 3)``.

        Raises:
            ValueError: a region has no color.
        """
        if int(ids.max(initial=0)) > len(colors):
            raise ValueError(f"regions up to {int(ids.max())}, but {counted(len(colors), 'color')}")
        return _uri(_transparent(shrink_map(ids, self.edge), colors), "png", optimize=True)

    @staticmethod
    def numbers(values: np.ndarray) -> str:
        """Return uint8 ``(H, W)`` as a gray PNG file, from which the page reads the numbers back."""
        return _uri(Image.fromarray(np.ascontiguousarray(values)), "png", optimize=True)

    @staticmethod
    def shades(values: np.ndarray) -> str:
        """Return uint8 ``(H, W)`` as the opacity of a PNG file, so that the page chooses the color."""
        alpha = Image.fromarray(np.ascontiguousarray(values))
        return _uri(Image.merge("LA", (Image.new("L", alpha.size), alpha)), "png", optimize=True)


def as_rgb(image: Pixels) -> Image.Image:
    """An image of PIL in RGB."""
    given = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    return given.convert("RGB")


def shrink(image: Image.Image, edge: int) -> Image.Image:
    """An image whose longer edge has at most ``edge`` pixels."""
    longer = max(image.size)
    if longer <= edge:
        return image
    width, height = (max(1, round(size * edge / longer)) for size in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def shrink_map(ids: np.ndarray, edge: int) -> np.ndarray:
    """A map ``(H, W)`` whose longer edge has at most ``edge`` pixels: the nearest of its own, mixed nowhere."""
    longer = max(ids.shape)
    if longer <= edge:
        return ids
    rows, columns = (_picked(size, max(1, round(size * edge / longer))) for size in ids.shape)
    return ids[np.ix_(rows, columns)]


def _picked(size: int, kept: int) -> np.ndarray:
    """Indices of ``kept`` evenly spaced pixels of ``size``."""
    return (np.arange(kept) * size + size // 2) // kept


def _transparent(ids: np.ndarray, colors: np.ndarray) -> Image.Image:
    """Colors where there is a region: with a palette where they fit into one."""
    if len(colors) < 256:
        image = Image.fromarray(ids.astype(np.uint8))
        image.putpalette(np.concatenate([np.zeros((1, 3), np.uint8), colors]).tobytes())
        image.info["transparency"] = 0
        return image
    table = np.concatenate([np.zeros((1, 4), np.uint8), np.insert(colors, 3, 255, axis=1)]).astype(np.uint8)
    return Image.fromarray(table[ids])


def _uri(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
