"""TIFF files as they are stored: any number of channels, 8 to 64 bits, integers and floats.

Pillow reads few of these layouts and cuts others to 8 bits. Here the file is given a second directory, in which a row
of the image is a row of bytes. Pillow undoes the compression, and numpy looks at the bytes as what they are.

Shapes: H W image, C channels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from visionattn.data.orientation import UPRIGHT, turned_values
from visionattn.data.unreadable import UnreadableImage

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_LONG = 4
_RGB, _CMYK = 2, 5
_ALPHA = (1, 2)
_KINDS = {1: "u", 2: "i", 3: "f"}
_MOST_PAGES = 10_000
_JPEG = (6, 7)


@dataclass(frozen=True)
class Page:
    """One image of a TIFF file.

    Attributes:
        tags: number of a tag -> its value.
        size: (height, width).
        bits: of every sample; different ones are not read.
        kind: ``u``, ``i`` or ``f``.
        samples: channels.
        alpha: whether the last one is transparency, or a fourth channel of RGB.
    """

    tags: dict[int, Any]
    size: tuple[int, int]
    bits: int
    kind: str
    samples: int
    alpha: bool

    @property
    def transparent(self) -> bool:
        """Whether the file says that the last channel is transparency."""
        return _numbers(self.tags.get(_EXTRA, 0))[-1] in _ALPHA

    @property
    def ordinary(self) -> bool:
        """Whether Pillow reads it as it is: 8 bits of up to four channels, or one channel of a depth that it knows."""
        if self.bits <= 8:
            cmyk = self.tags.get(_PHOTOMETRIC) == _CMYK
            return self.samples in (1, 3) or (self.samples in (2, 4) and (self.transparent or cmyk))
        single = self.samples == 1 and self.tags.get(_PLANAR, 1) == 1
        return single and self.kind == "u" and self.bits in (12, 16)


def pages(data: bytes) -> list[Page]:
    """The images of a file, without their pixels.

    Raises:
        UnreadableImage: a page states different depths of its channels, or an unknown number format.
    """
    found, seen = list[Page](), set[int]()
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file, offset = io.BytesIO(data), directory.next
    while offset and offset not in seen and len(found) < _MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        directory.load(file)
        tags = dict(directory)
        if not int(tags.get(254, 0)) & 1:  # a thumbnail
            found.append(_page(tags))
        offset = directory.next
    return found


def _page(tags: dict[int, Any]) -> Page:
    bits, kinds = _numbers(tags.get(_BITS, 1)), _numbers(tags.get(_FORMAT, 1))
    if len(set(bits)) > 1 or len(set(kinds)) > 1 or kinds[0] not in _KINDS:
        raise UnreadableImage(f"a TIFF file with {sorted(set(bits))} bits of the formats {sorted(set(kinds))}")
    extra, samples = _numbers(tags.get(_EXTRA, ())), int(tags.get(_SAMPLES, 1))
    alpha = (bool(extra) and extra[-1] in _ALPHA) or (samples == 4 and tags.get(_PHOTOMETRIC) == _RGB)
    return Page(tags, (int(tags[_HEIGHT]), int(tags[_WIDTH])), bits[0], _KINDS[kinds[0]], samples, alpha)


def read(data: bytes, page: Page) -> np.ndarray:
    """The values of one page as they are stored, upright, ``(H, W, C)``.

    Raises:
        UnreadableImage: a compression or a depth that cannot be read.
    """
    if page.bits not in (8, 16, 32, 64) or (page.bits == 8 and page.kind == "f"):
        raise UnreadableImage(f"a TIFF file of {page.samples} channels with {page.bits} bits each")
    if page.tags.get(_COMPRESSION, 1) in _JPEG:
        raise UnreadableImage(f"a TIFF file of {page.samples} channels of {page.bits} bits in JPEG compression")
    return turned_values(_values(data, page), int(page.tags.get(_ORIENTATION, UPRIGHT)))


def _values(data: bytes, page: Page) -> np.ndarray:
    if page.tags.get(_PLANAR, 1) == 1:
        return _plane(data, page, page.samples, slice(None))
    count = len(_numbers(page.tags.get(_TILE_OFFSETS, page.tags.get(_OFFSETS)))) // page.samples
    planes = [_plane(data, page, 1, slice(i * count, (i + 1) * count)) for i in range(page.samples)]
    return np.concatenate(planes, axis=2)


def _plane(data: bytes, page: Page, channels: int, blocks: slice) -> np.ndarray:
    """Some blocks (strips or tiles) of a page, which make up whole channels."""
    tags, (height, width) = page.tags, page.size
    tiled, step = _TILE_OFFSETS in tags, channels * page.bits // 8
    block_width = int(tags[_TILE_WIDTH]) if tiled else width
    columns = -(-width // block_width) * block_width
    names = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_OFFSETS, _COUNTS)
    new: dict[int, Any] = {_WIDTH: columns * step, _HEIGHT: height, _BITS: 8, _PHOTOMETRIC: 1, _SAMPLES: 1}
    new |= {_COMPRESSION: tags.get(_COMPRESSION, 1)}
    new |= {name: tuple(_numbers(tags[name])[blocks]) for name in names}
    if tiled:
        new |= {_TILE_WIDTH: block_width * step, _TILE_HEIGHT: int(tags[_TILE_HEIGHT])}
    else:
        new |= {_ROWS: int(tags.get(_ROWS, height))}
    flat = _as_bytes(data, new).reshape(height, -1, block_width * step)
    order = ">" if data[:2] == b"MM" else "<"
    rows = [_undone(block, page, channels, order) for block in np.moveaxis(flat, 1, 0)]
    return np.concatenate(rows, axis=1)[:, :width]


def _as_bytes(data: bytes, tags: dict[int, Any]) -> np.ndarray:
    """uint8 ``(H, W)`` of the file with another directory at its end."""
    order: Any = "little" if data[:2] == b"II" else "big"
    padded = data + b"\0" * (len(data) % 2)
    entries, lists = b"", b""
    after = len(padded) + 2 + 12 * len(tags) + 4  # where lists of numbers begin
    for number, value in sorted(tags.items()):
        numbers = b"".join(one.to_bytes(4, order) for one in _numbers(value))
        entries += number.to_bytes(2, order) + _LONG.to_bytes(2, order) + (len(numbers) // 4).to_bytes(4, order)
        entries += numbers if len(numbers) == 4 else (after + len(lists)).to_bytes(4, order)
        lists += numbers if len(numbers) > 4 else b""
    directory = len(tags).to_bytes(2, order) + entries + bytes(4) + lists
    content = data[:4] + len(padded).to_bytes(4, order) + padded[8:] + directory
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        image.load()
        return np.asarray(image)


def _undone(block: np.ndarray, page: Page, channels: int, order: str) -> np.ndarray:
    """Values of one block of bytes ``(rows, n)``, with the differences of the predictor summed up."""
    predictor, size, rows = int(page.tags.get(_PREDICTOR, 1)), page.bits // 8, len(block)
    block = np.ascontiguousarray(block)
    if predictor == 3:  # differences of bytes, the highest bytes of all numbers first
        summed = block.reshape(rows, -1, channels).cumsum(1, dtype=np.uint8)
        numbers = np.ascontiguousarray(summed.reshape(rows, size, -1).transpose(0, 2, 1))
        return numbers.view(f">{page.kind}{size}").reshape(rows, -1, channels).astype(f"{page.kind}{size}")
    values = block.view(f"{order}{page.kind}{size}").reshape(rows, -1, channels).astype(f"{page.kind}{size}")
    return values.cumsum(1, dtype=values.dtype) if predictor == 2 else values


def _numbers(value: Any) -> Sequence[int]:
    return tuple(int(one) for one in value) if isinstance(value, (tuple, list)) else (int(value),)
