"""A look at some images of a data set: channels, bits, range of values, pages, orientation and size."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from visionattn.data import tiff
from visionattn.data.decode import FORMATS, reading
from visionattn.data.decoding import Decoding
from visionattn.data.facts import SAMPLED_HEADERS, typical_size
from visionattn.data.orientation import TIFF_SIGNATURES, UPRIGHT, Size, orientation
from visionattn.data.stored import PNG, has_8_bits, stored
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

_DARK = 32768  # 16-bit values that all lie below leave at least one bit unused
_CHANNELS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "I;16B": 1, "F": 1, "LA": 2, "PA": 4, "RGBA": 4}
_ALPHA = ("LA", "PA", "RGBA")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True)
class Header:
    """What the beginning of an image file says.

    Attributes:
        size: (height, width) as stored.
        channels: of the first page; a palette has three.
        alpha: whether the last channel is transparency.
        eight_bits: whether 8 bits hold its values.
        pages: images in the file.
        turn: EXIF orientation.
    """

    size: Size
    channels: int
    alpha: bool
    eight_bits: bool
    pages: int
    turn: int


def read_header(data: bytes) -> Header:
    """The header of a file.

    Raises:
        UnreadableImage: it is none of an image.
    """
    with reading(data):
        plain, turn = has_8_bits(data), orientation(data)
        if data.startswith(TIFF_SIGNATURES):
            pages = tiff.pages(data)
            if pages:
                color = 3 if pages[0].tags.get(262) == 3 else pages[0].samples
                return Header(pages[0].size, color, pages[0].transparent, plain, len(pages), turn)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            channels, alpha = _CHANNELS.get(image.mode, 3), image.mode in _ALPHA
            if data.startswith(PNG):
                channels = _PNG_CHANNELS.get(data[25], channels)
                alpha = channels in (2, 4)
            frames = 1 if image.format in ("GIF", "WEBP", "PNG", "AVIF") else getattr(image, "n_frames", 1)
            return Header((image.height, image.width), channels, alpha, plain, frames, turn)


@dataclass
class Survey:
    """What some images have in common.

    Attributes:
        headers: of the images that could be read.
        deep: (lowest, highest, whether they are floats) of every image with more than 8 bits.
        unreadable: (index, reason) of images without a header.
    """

    headers: list[Header] = field(default_factory=list)
    deep: list[tuple[float, float, bool]] = field(default_factory=list)
    unreadable: list[tuple[int, str]] = field(default_factory=list)

    def add(self, data: bytes, index: int = 0) -> Header | None:
        """Look at one file; None where it has no header."""
        try:
            header = read_header(data)
            if not header.eight_bits:
                values = stored(data).values
                if values.dtype != np.uint8:
                    floats = not np.issubdtype(values.dtype, np.integer)
                    self.deep.append((float(np.nanmin(values)), float(np.nanmax(values)), floats))
        except UnreadableImage as error:
            self.unreadable.append((index, str(error)))
            return None
        self.headers.append(header)
        return header

    @property
    def typical_size(self) -> Size | None:
        """The median height and width."""
        return typical_size(header.size for header in self.headers)

    @property
    def channels(self) -> int | None:
        """Channels that all images have, where they are no gray, RGB or transparency; None: three will do."""
        found = {(header.channels, header.alpha) for header in self.headers}
        odd = {channels for channels, alpha in found if channels - alpha not in (1, 3)}
        return odd.pop() if len(odd) == len(found) == 1 else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest value of the images with more than 8 bits."""
        return (min(low for low, _, _ in self.deep), max(high for _, high, _ in self.deep)) if self.deep else None

    @property
    def floats(self) -> bool:
        """Whether some images hold floats."""
        return any(floats for _, _, floats in self.deep)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """A range for the images with more than 8 bits; None: there are none, or they use all 16.

        Integers from 0 on end at the largest number of their bits, e.g. 4095; floats between 0 and 1 there.
        """
        if self.bounds is None:
            return None
        low, high = self.bounds
        if self.floats:
            return (0.0, 1.0) if 0 <= low <= high <= 1 else (low, max(high, math.nextafter(low, math.inf)))
        if low < 0 or high > 65535:
            return low, high
        top = float(2 ** math.ceil(math.log2(max(high, 1) + 1)) - 1)
        return None if top >= 65535 else (0.0, top)

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about pages, ranges and channels."""
        return [*self._about_range(), *self._about_pages(0)]

    def _about_range(self) -> list[str]:
        if self.bounds is None:
            return []
        kind = "floats" if self.floats else "more than 8 bits"
        found = f"{len(self.deep)} of the {len(self.headers)} images looked at hold {kind}"
        return [f"{found}, from {self.bounds[0]:g} to {self.bounds[1]:g}"]

    def _about_pages(self, page: int | str) -> list[str]:
        several = sum(header.pages > 1 for header in self.headers)
        found = f"{several} of the {len(self.headers)} images looked at have several pages"
        return [f"{found}: the first is read (data.page)"] if several and page == 0 else []

    def told(self, decoding: Decoding) -> list[str]:
        """Sentences for the user about images as a decoding reads them."""
        count, sentences = len(self.headers), self._about_pages(decoding.page)
        turned = sum(header.turn != UPRIGHT for header in self.headers)
        if turned:
            sentences.append(
                f"{turned} of the {count} images looked at are stored turned, with an EXIF orientation; "
                f"data.exif={decoding.exif} {_EXIF_WORDS[decoding.exif]}"
            )
        fourth = sum(header.channels == 4 and not header.alpha for header in self.headers)
        if decoding.channels == 3 and fourth:
            sentences.append(f"{fourth} of the {count} images looked at have a fourth channel, which is left out")
        if self.bounds and decoding.value_range:
            (low, high), (first, last) = self.bounds, decoding.value_range
            if low < first or high > last:
                sentences.append(f"stored values run from {low:g} to {high:g}; data.value_range cuts those outside")
        return sentences

    def check(self, decoding: Decoding, where: str) -> None:
        """Refuse images that a decoding would spoil without a word.

        Raises:
            DataError: values without a stated range where it matters, or another number of channels.
        """
        looked = f"({len(self.headers)} looked at)"
        if self.bounds and decoding.value_range is None:
            low, high = self.bounds
            proposed = self.value_range
            stated = f"data.value_range=[{proposed[0]:g},{proposed[1]:g}]" if proposed else ""
            if self.floats:
                raise DataError(
                    f"{where} hold floats from {low:g} to {high:g} {looked}: state their range, as {stated}"
                )
            if low >= 0 and high < _DARK:
                raise DataError(
                    f"{where} hold values from {low:g} to {high:g} in 16 bits {looked}, of which 8 bits of the whole "
                    f"range would keep {round(high / 257) + 1} levels: state their range, as {stated}, or "
                    "data.value_range=[0,65535] if these are dark images"
                )
        if decoding.page == 0 and self.channels not in (None, decoding.channels):
            raise DataError(
                f"{where} have {self.channels} channels {looked}, data.in_chans is {decoding.channels}: set "
                f"data.in_chans={self.channels}"
            )


_EXIF_WORDS = {
    "auto": "turns them upright where that fits the annotations",
    "apply": "turns them upright",
    "ignore": "takes the pixels as they are stored",
}


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` indices of ``count``, evenly spread."""
    wanted = min(count, most)
    return [i * count // wanted for i in range(wanted)]


def survey(read: Callable[[int], bytes], count: int, most: int = SAMPLED_HEADERS) -> Survey:
    """Look at some of ``count`` images.

    Args:
        read: content of an image's file, by index; may raise :class:`UnreadableImage` or OSError.
        count: of images.
        most: that are looked at.
    """
    result = Survey()
    for index in spread(count, most):
        try:
            data = read(index)
        except (UnreadableImage, OSError) as error:
            result.unreadable.append((index, str(error)))
            continue
        result.add(data, index)
    return result


def survey_files(paths: Sequence[Path], most: int = SAMPLED_HEADERS) -> Survey:
    """The same of files."""
    return survey(lambda index: paths[index].read_bytes(), len(paths), most)
