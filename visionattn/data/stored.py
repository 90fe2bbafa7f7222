"""The values of an image file as they are stored, before a range makes 8 bits of them.

Shapes: H W image, C channels.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from visionattn.data import tiff
from visionattn.data.decode import FORMATS, reading
from visionattn.data.orientation import TIFF_SIGNATURES
from visionattn.data.unreadable import UnreadableImage

STACK = "stack"
"""All pages of a file, one behind the other, as channels."""
PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
_PNG_BITS, _PNG_COLOR = 24, 25
_GRAY, _RGB, _GRAY_ALPHA, _RGBA = 0, 2, 4, 6
_AS_STORED = ("L", "LA", "RGB", "RGBA", "F")


@dataclass(frozen=True)
class Stored:
    """Values as stored.

    Attributes:
        values: ``(H, W, C)``, of any number type.
        alpha: whether the last channel is transparency.
    """

    values: np.ndarray
    alpha: bool = False


def has_8_bits(data: bytes) -> bool:
    """Whether Pillow's own conversion to RGB loses nothing of a file's first page but its transparency."""
    if data.startswith(_JPEG):
        return True
    if data.startswith(PNG):
        return data[_PNG_BITS : _PNG_BITS + 1] != b"\x10"
    if data.startswith(TIFF_SIGNATURES):
        pages = tiff.pages(data)
        return not pages or (pages[0].bits <= 8 and pages[0].ordinary)
    return not data.startswith(_JPEG2000)


def stored(data: bytes, page: int | str = 0) -> Stored:
    """Read a file.

    Args:
        data: its content.
        page: number of the page, from 0, or :data:`STACK`.

    Raises:
        UnreadableImage: damaged, an unknown layout, no such page, or pages of several sizes to be stacked.
    """
    with reading(data):
        if data.startswith(TIFF_SIGNATURES):
            pages = tiff.pages(data)
            if not all(one.ordinary for one in pages):
                return _chosen([Stored(tiff.read(data, one), one.alpha) for one in _wanted(pages, page)])
        elif data.startswith(PNG) and data[_PNG_BITS] == 16 and data[_PNG_COLOR] != _GRAY:
            return _chosen(_wanted([_deep_png(data)], page))
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _chosen([_values(frame) for frame in _frames(image, page)])


def _frames(image: Image.Image, page: int | str) -> Any:
    if page == STACK:
        return ImageSequence.Iterator(image)
    _wanted(range(getattr(image, "n_frames", 1)) if page else [0], page)
    if page:
        image.seek(int(page))
    return [image]


def _wanted(pages: Any, page: int | str) -> Any:
    if page == STACK:
        return pages
    if int(page) >= len(pages):
        raise UnreadableImage(f"it has no page {page}, only {len(pages)} (data.page counts from 0)")
    return [pages[int(page)]]


def _chosen(pages: list[Stored]) -> Stored:
    sizes = sorted({one.values.shape[:2] for one in pages})
    if len(sizes) > 1:
        raise UnreadableImage(f"its pages have several sizes and cannot be channels: {sizes[:4]}")
    if len(pages) == 1:
        return pages[0]
    opaque = [one.values[..., :-1] if one.alpha else one.values for one in pages]
    return Stored(np.concatenate(opaque, axis=2))


def _values(image: Image.Image) -> Stored:
    if image.mode in ("P", "PA"):
        transparent = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA")  # straight to RGB warns where transparency is given in bytes
        image = image if transparent else image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in _AS_STORED and not image.mode.startswith("I"):
        image = image.convert("RGB")
    values = np.array(image)
    if image.format == "PPM" and image.mode.startswith("I"):  # Pillow has applied the range that the file states
        values = np.round(values / 257.0).astype(np.uint8)
    return Stored(values[..., None] if values.ndim == 2 else values, alpha=image.mode in ("LA", "RGBA"))


def _deep_png(data: bytes) -> Stored:
    """16 bits of several channels. Pillow has the higher or the lower bytes of RGB and RGBA, so they are read twice.

    Gray with transparency has four bytes to a pixel, as RGBA of 8 bits, and is read as that.
    """
    if data[_PNG_COLOR] == _GRAY_ALPHA:
        header = data[12:_PNG_BITS] + bytes([8, _RGBA]) + data[_PNG_COLOR + 1 : 29]
        content = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
        pairs = _raw_png(content, "RGBA").astype(np.uint16)
        return Stored(pairs[..., ::2] * 256 + pairs[..., 1::2], alpha=True)
    name = {_RGB: "RGB", _RGBA: "RGBA"}[data[_PNG_COLOR]]
    high, low = (_raw_png(data, f"{name};16{end}").astype(np.uint16) for end in "BL")
    return Stored(high * 256 + low, alpha=name == "RGBA")


def _raw_png(data: bytes, raw_mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.tile = [part._replace(args=raw_mode) for part in image.tile]
        image.load()
        return np.asarray(image)
