"""Decoding of image files to 8-bit RGB, with a reason for each file that cannot be decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode
from torchvision.transforms.v2.functional import pil_to_tensor

from visionattn.data.unreadable import UnreadableImage

# Raster formats only: Pillow would hand EPS files to an external interpreter. A build of Pillow may lack some.
Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF") if name in Image.OPEN
)

# The operator behind torchvision.io.decode_jpeg, whose Python function warns at every call.
_DECODE_JPEG: Callable[..., Any] | None = getattr(torch.ops.image, "decode_jpeg", None)
_RGB = ImageReadMode.RGB.value
_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow warns at half of what it refuses

# What Pillow's decoders raise on damaged files (found by flipping and cutting bytes of each format).
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
)

DecodedImage = Image.Image | torch.Tensor
"""A Pillow image of mode RGB, or uint8 ``(C, H, W)``."""


def as_tensor(image: DecodedImage) -> torch.Tensor:
    """uint8 ``(C, H, W)``."""
    return image if isinstance(image, torch.Tensor) else pil_to_tensor(image)


def as_image(image: DecodedImage) -> Image.Image:
    """A Pillow image of mode RGB to look at: of other numbers of channels the first three, or the first in gray."""
    if isinstance(image, Image.Image):
        return image
    channels = image if image.shape[0] >= 3 else image[:1].repeat(3, 1, 1)
    return Image.fromarray(np.ascontiguousarray(channels[:3].permute(1, 2, 0).numpy()))


def decode_fast(data: bytes) -> DecodedImage:
    """Decode one file's content, an ordinary JPEG to a tensor by torchvision.

    The pixels are those of :func:`decode_rgb`. An ordinary JPEG has 8 bits, one or three components, an end mark, and
    no more pixels than Pillow's limit. Pillow decodes everything else, and what torchvision refuses, and gives the
    reason of a failure. The end mark is checked because torchvision silently fills a truncated file with gray. A
    torchvision without a decoder (deprecated since 0.29) costs speed only.
    """
    if _DECODE_JPEG is not None and _is_ordinary_jpeg(data):
        try:
            pixels: torch.Tensor = _DECODE_JPEG(torch.frombuffer(bytearray(data), dtype=torch.uint8), _RGB, False)
            return pixels
        except RuntimeError:
            pass  # Pillow gives the reason
    return decode_rgb(data)


def _is_ordinary_jpeg(data: bytes) -> bool:
    if not data.startswith(b"\xff\xd8\xff") or not data.endswith(b"\xff\xd9"):
        return False
    offset = 2
    while offset + 9 < len(data) and data[offset] == 0xFF:
        marker, length = data[offset + 1], int.from_bytes(data[offset + 2 : offset + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            bits, height, width, components = struct.unpack(">BHHB", data[offset + 4 : offset + 10])
            return bits == 8 and components in (1, 3) and 0 < height * width <= _PIXELS
        offset += 2 + length
    return False


def decode_rgb(data: bytes) -> Image.Image:
    """Decode one file's content to mode RGB.

    16-bit gray is scaled by 1/257 to 8 bits. CMYK and palettes are converted. Transparency is dropped (the stored color
    stays) and the EXIF orientation is not applied, both as in timm and torchvision. The first frame of an animation is
    taken. :class:`visionattn.data.decoding.Decoding` reads files as a data set states them: a range of values, other
    numbers of channels, pages and the orientation.

    Raises:
        UnreadableImage: empty, no known format, truncated, more pixels than Pillow's limit against decompression bombs
            (178,956,970), or a pixel type without an agreed range (floats).
    """
    with reading(data), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.load()
        return _to_rgb(image)


@contextmanager
def reading(data: bytes) -> Iterator[None]:
    """A context in which whatever a decoder raises about a file becomes an :class:`UnreadableImage`.

    Raises:
        UnreadableImage: see :func:`decode_rgb`.
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns at half the bomb limit and on odd metadata
            yield
    except UnreadableImage:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImage(f"not an image in a known format ({len(data)} bytes)") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"too many pixels: {error}") from None
    except DAMAGE as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image.copy()
    if image.mode.startswith("I"):
        return _integers_to_rgb(np.asarray(image), image.mode)
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, whose range is not defined")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB warns where transparency is given in bytes
    return image.convert("RGB")


def _integers_to_rgb(values: np.ndarray, mode: str) -> Image.Image:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnreadableImage(f"integer pixels (mode {mode}) from {low} to {high}, outside 0..65535")
    gray = np.round(values.astype(np.float64) / 257.0).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")
