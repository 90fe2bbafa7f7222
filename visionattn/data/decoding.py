"""From a file's content to pixels, as a data set states them: channels, range of values, page and orientation.

Shapes: H W image, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from visionattn.data.decode import DecodedImage, decode_fast, reading
from visionattn.data.orientation import UPRIGHT, Size, orientation, size_of, turned, turned_size
from visionattn.data.stored import STACK, Stored, has_8_bits, stored
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError

EXIF = ("auto", "apply", "ignore")


@dataclass(frozen=True)
class Decoding:
    """How the files of a data set become images of 8 bits.

    Args:
        channels: of the images. Gray becomes three equal channels and color becomes gray where 3 or 1 are asked for;
            transparency is dropped where there is one channel too many. Any other number must be that of the file.
        value_range: the stored values (lowest, highest) that become 0 and 255, of files with more than 8 bits. Values
            outside are cut, and NaN becomes the lowest. None: 0 and 65535 for integers; floats are refused.
        exif: ``ignore`` takes the pixels as they are stored; ``apply`` turns them as the file's EXIF orientation says;
            ``auto`` turns them where the size that the annotations state is that of the turned image, or where they
            state none.
        page: the page of a file of several, from 0, or ``stack``: all pages are channels, one behind the other.

    Raises:
        ConfigError: an impossible value.
    """

    channels: int = 3
    value_range: tuple[float, float] | None = None
    exif: str = "auto"
    page: int | str = 0

    def __post_init__(self) -> None:
        if self.exif not in EXIF:
            raise ConfigError(f"data.exif={self.exif!r} is not one of {', '.join(EXIF)}")
        if not isinstance(self.channels, int) or self.channels < 1:
            raise ConfigError(f"data.in_chans is the number of channels of an image, at least 1, got {self.channels!r}")
        if self.page != STACK and (not isinstance(self.page, int) or self.page < 0):
            raise ConfigError(f"data.page is a number from 0, or {STACK!r}, got {self.page!r}")

    def __call__(
        self, data: bytes, size: Size | None = None, base: Callable[[bytes], DecodedImage] = decode_fast
    ) -> DecodedImage:
        """One image: a Pillow image of mode RGB or uint8 ``(3, H, W)``; for other channels uint8 ``(C, H, W)``.

        Args:
            data: content of the file.
            size: (height, width) that the annotations state.
            base: decoder of the files that are RGB, or become it without a loss.

        Raises:
            UnreadableImage: it cannot be decoded, or not in this way.
        """
        with reading(data):
            plain = self.channels == 3 and self.page == 0 and has_8_bits(data)
        image = base(data) if plain else self._converted(stored(data, self.page))
        turn = UPRIGHT if self.exif == "ignore" else orientation(data)
        return turned(image, turn) if turn != UPRIGHT and self._applies(turn, size_of(image), size) else image

    def _applies(self, turn: int, own: Size, stated: Size | None) -> bool:
        return self.exif == "apply" or stated is None or turned_size(own, turn) == stated

    def why_other_size(self, data: bytes, own: Size, stated: Size) -> str:
        """A remark on the orientation where it is the cause of a size that the annotations do not state, else empty."""
        turn = orientation(data)
        if turn == UPRIGHT or own[::-1] != stated:
            return ""
        remedy = "data.exif=auto turns images only where that gives the size that is stated"
        return f" (its EXIF orientation is {turn} and data.exif={self.exif}; {remedy})"

    def _converted(self, image: Stored) -> DecodedImage:
        values = self._channels(Stored(to_8_bits(image.values, self.value_range), image.alpha))
        if self.channels == 3:
            return Image.fromarray(np.ascontiguousarray(values))
        return torch.from_numpy(values.transpose(2, 0, 1).copy())

    def _channels(self, image: Stored) -> np.ndarray:
        values, count = image.values, image.values.shape[2]
        if count == self.channels:
            return values
        opaque = values[..., :-1] if image.alpha else values
        if opaque.shape[2] == self.channels:
            return opaque
        if self.channels == 3 and opaque.shape[2] == 1:
            return opaque.repeat(3, axis=2)
        if self.channels == 1 and opaque.shape[2] == 3:
            return np.asarray(Image.fromarray(np.ascontiguousarray(opaque)).convert("L"))[..., None]
        raise UnreadableImage(f"it has {count} channels, data.in_chans is {self.channels}")


AS_STORED = Decoding(exif="ignore")
"""RGB, pixels as they are stored."""


def as_range(value_range: Sequence[float] | None) -> tuple[float, float] | None:
    """A range of values of a configuration.

    Raises:
        ConfigError: it is not two rising numbers.
    """
    if value_range is None:
        return None
    wrong = ConfigError(f"data.value_range is [lowest, highest] stored value, e.g. [0, 4095], got {value_range!r}")
    try:
        low, high = (float(bound) for bound in value_range)
    except (TypeError, ValueError):
        raise wrong from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise wrong
    return low, high


def to_8_bits(values: np.ndarray, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Stored values to uint8, rounded; 8 bits stay as they are.

    Raises:
        UnreadableImage: no range is stated where one is needed.
    """
    if values.dtype == np.uint8:
        return values
    if value_range is None:
        low, high = np.nanmin(values), np.nanmax(values)
        state = "state their range as data.value_range=[lowest, highest]"
        if not np.issubdtype(values.dtype, np.integer):
            raise UnreadableImage(
                f"floating-point pixels, whose range is not defined: {state}; here they are {low:g} to {high:g}"
            )
        if low < 0 or high > 65535:
            raise UnreadableImage(f"integer pixels from {low} to {high}, outside 0..65535; {state}")
    lowest, highest = value_range or (0.0, 65535.0)
    scaled = (values.astype(np.float64) - lowest) / ((highest - lowest) / 255)
    return np.round(np.nan_to_num(scaled, nan=0.0).clip(0, 255)).astype(np.uint8)
