"""From the bytes of an image file to an 8-bit RGB picture, or the reason why not."""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image

from visionattn.data.unreadable import UnreadableImage

# Raster formats only: Pillow would hand EPS files to an external interpreter. A build of Pillow may lack some.
Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF") if name in Image.OPEN
)
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".avif"}
)

# What Pillow's decoders raise on damaged files (found by flipping and cutting bytes of each format).
_DAMAGE = (
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


def decode_rgb(data: bytes) -> Image.Image:
    """Decodes one file's content to mode RGB.

    16-bit grey is scaled by 1/257 to 8 bits, CMYK and palettes are converted, transparency is dropped (the stored
    colour stays, as in timm and torchvision), the EXIF orientation is not applied (also as there). Of an animation
    the first frame is taken.
    Raises UnreadableImage with the reason: empty, no known format, truncated, more pixels than Pillow's limit
    against decompression bombs (178,956,970), or a pixel type without an agreed range (floats).
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns at half the bomb limit and on odd metadata
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
                return _to_rgb(image)
    except UnreadableImage:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImage(f"not an image in a known format ({len(data)} bytes)") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"too many pixels: {error}") from None
    except _DAMAGE as error:
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
    grey = np.round(values.astype(np.float64) / 257.0).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
