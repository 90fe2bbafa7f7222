"""The numbers in a mask file, exactly as they are stored.

Pillow stretches gray of 1, 2 and 4 bits, and of files that state a largest value, to 0..255 (or 0..65535), and turns
TIFF files whose white is 0. That is undone here, so that a label is never multiplied by a factor.

Shapes: H W map.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from visionattn.data import tiff
from visionattn.data.decode import FORMATS, reading
from visionattn.data.orientation import TIFF_SIGNATURES
from visionattn.data.stored import PNG, has_8_bits, stored
from visionattn.errors import DataError, counted


class LabelError(DataError):
    """A mask whose values cannot be classes of its data set: another label map, shifted labels or colors."""


_JPEG = b"\xff\xd8\xff"
_PNG_BITS, _PNG_COLOR, _GRAY = 24, 25, 0
_WHITE_IS_ZERO = 0
_PHOTOMETRIC = 262


def voc_colors() -> dict[int, tuple[int, int, int]]:
    """Number -> red, green and blue of Pascal VOC's palette, which many tools draw masks in.

    The bits of a number go to the channels in turn, the lowest to the highest bit of red, then of green, then of blue.
    """

    def channel(number: int, part: int) -> int:
        return sum((number >> (3 * bit + part) & 1) << (7 - bit) for bit in range(8))

    return {number: (channel(number, 0), channel(number, 1), channel(number, 2)) for number in range(256)}


class ColorTable:
    """From the colors of a mask to numbers.

    Args:
        colors: number -> red, green and blue, each of them once.
    """

    def __init__(self, colors: Mapping[int, Sequence[int]]) -> None:
        codes = np.array([_code(np.array(color, np.int64)) for color in colors.values()], np.int64)
        order = np.argsort(codes)
        self._codes, self._numbers = codes[order], np.array(list(colors), np.uint16)[order]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The numbers of colors ``(H, W, 3)``, uint16 ``(H, W)``.

        Raises:
            LabelError: a color has no number; names it.
        """
        codes = _code(values.astype(np.int64))
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        wrong = self._codes[places] != codes
        if wrong.any():
            found, counts = np.unique(values[wrong].reshape(-1, 3), axis=0, return_counts=True)
            most = ", ".join(map(str, found[counts.argmax()].tolist()))
            raise LabelError(
                f"{counted(int(wrong.sum()), 'pixel')} of {wrong.size:,} have colors of no class, most ({most}); "
                "where edges are blended, save masks without antialiasing"
            )
        return self._numbers[places]


def _code(colors: np.ndarray) -> np.ndarray:
    return colors @ np.array([2**32, 2**16, 1])


def decode_mask(data: bytes, colors: ColorTable | None = None) -> np.ndarray:
    """The numbers stored in a mask file, uint8 or larger integers ``(H, W)``.

    A palette is not looked up: the index is the label. 1 to 16 bits are read as they are. Of three equal channels one
    is read; a transparency that is opaque everywhere is dropped.

    Args:
        data: of the file.
        colors: the numbers of colors, for masks of three channels.

    Raises:
        UnreadableImage: a damaged file.
        LabelError: an image in color without ``colors``, with transparency, of floats, or in JPEG, which changes
            labels.
    """
    with reading(data):
        if data.startswith(_JPEG):
            raise LabelError("it is a JPEG file, whose compression changes labels; save masks as PNG")
        if not has_8_bits(data):
            return _one_channel(stored(data).values, colors)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            parts = [part.args for part in image.tile]
            image.load()
            if image.mode in ("P", "PA"):
                return np.asarray(image.getchannel(0))
            values = np.array(image)
    values = values.astype(np.uint8) if image.mode == "1" else values
    return _one_channel(_as_stored(values, image.mode, data, parts), colors)


def _one_channel(values: np.ndarray, table: ColorTable | None) -> np.ndarray:
    """The only channel, the numbers of three, or one of three equal ones."""
    values = values[..., None] if values.ndim == 2 else values
    if not np.issubdtype(values.dtype, np.integer):
        raise LabelError("it holds floats; a mask holds one whole number per pixel")
    channels = values.shape[2]
    opaque = channels in (2, 4) and (values[..., -1] == np.iinfo(values.dtype).max).all()
    colors = values[..., :-1] if opaque else values
    if table is not None and colors.shape[2] == 3:
        return table(colors)
    if colors.shape[2] in (1, 3) and (colors == colors[..., :1]).all():
        return np.ascontiguousarray(colors[..., 0])
    kind = {2: "gray with transparency", 3: "color (RGB)", 4: "color with transparency (RGBA)"}
    raise LabelError(
        f"it is an image in {kind.get(channels, f'{channels} channels')}; a mask holds one number per pixel (1 to 16 "
        "bits, or a palette)"
    )


def _as_stored(values: np.ndarray, mode: str, data: bytes, parts: list) -> np.ndarray:
    """Values as Pillow gives them, without its stretching."""
    if data.startswith((b"P1", b"P4")):  # portable bitmaps, whose 1 is black
        return 1 - values
    if data.startswith(PNG) and data[_PNG_COLOR] == _GRAY:
        return values // _stretch(data[_PNG_BITS])
    if data.startswith(TIFF_SIGNATURES):
        page = tiff.pages(data)[0]
        top = 1 if mode == "1" else 255
        values = top - values if page.tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values
        return values // (1 if mode == "1" else _stretch(page.bits))
    if data.startswith((b"P2", b"P3", b"P5", b"P6")) and isinstance(parts[0], tuple):  # (raw mode, stated maximum)
        return np.round(values * (int(parts[0][1]) / (65535 if mode == "I" else 255))).astype(np.uint16)
    return values


def _stretch(bits: int) -> int:
    return 255 // (2**bits - 1) if bits in (2, 4) else 1
