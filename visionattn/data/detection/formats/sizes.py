"""Sizes of images as they are shown, from their headers."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image

from visionattn.data.decode import DAMAGE, FORMATS
from visionattn.data.detection.formats.content import UNKNOWN_SIZE, Size

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


def shown_size(image: Path | bytes) -> Size:
    """(height, width) of an image after its EXIF orientation, from its header.

    Labels in fractions of an image speak of the image as it is shown; so the tools do that write and read them. An
    image that cannot be read gives :data:`UNKNOWN_SIZE`; reading its pixels later says why.
    """
    return header_of(image) or UNKNOWN_SIZE


def header_of(image: Path | bytes) -> Size | None:
    """The same; None: the header cannot be read."""
    source = io.BytesIO(image) if isinstance(image, bytes) else image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=FORMATS) as opened:
                turned = opened.format != "TIFF" and opened.getexif().get(_ORIENTATION) in _TURNED
                return (opened.width, opened.height) if turned else (opened.height, opened.width)
    except (*DAMAGE, Image.DecompressionBombError):
        return None
