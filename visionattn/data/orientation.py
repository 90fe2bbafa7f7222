"""The EXIF orientation of image files: how the stored pixels are turned to stand upright.

Shapes: H W image, C channels.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import ExifTags, Image

from visionattn.data.decode import FORMATS, DecodedImage, reading

Size = tuple[int, int]
UPRIGHT = 1
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
_JPEG, _EXIF_MARK = b"\xff\xd8\xff", b"Exif\0\0"
_HEAD = 1 << 16  # EXIF is one of the first segments of a JPEG file, of less than 64 KB

# orientation -> Pillow's operation, and the same in two steps: whether the axes are exchanged, axes to flip then
_TURNS: dict[int, tuple[Image.Transpose, bool, tuple[int, ...]]] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False, (-1,)),
    3: (Image.Transpose.ROTATE_180, False, (-2, -1)),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, (-2,)),
    5: (Image.Transpose.TRANSPOSE, True, ()),
    6: (Image.Transpose.ROTATE_270, True, (-1,)),
    7: (Image.Transpose.TRANSVERSE, True, (-2, -1)),
    8: (Image.Transpose.ROTATE_90, True, (-2,)),
}


def size_of(image: DecodedImage) -> Size:
    """(height, width)."""
    return (image.shape[-2], image.shape[-1]) if isinstance(image, torch.Tensor) else (image.height, image.width)


def turned_size(size: Size, turn: int) -> Size:
    """(height, width) of an image once it is turned as an EXIF orientation says."""
    return size[::-1] if turn >= 5 else size


def orientation(data: bytes) -> int:
    """The EXIF orientation of a file, 1 (upright) to 8; 1 where it states none or an unknown one.

    The orientation of a TIFF file belongs to its format and is always applied; it counts as upright.

    Raises:
        UnreadableImage: no image file.
    """
    if data.startswith(TIFF_SIGNATURES):
        return UPRIGHT
    if data.startswith(_JPEG) and _EXIF_MARK not in data[:_HEAD]:
        return UPRIGHT
    with reading(data), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        turn = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    return turn if turn in _TURNS else UPRIGHT


def turned(image: DecodedImage, turn: int) -> DecodedImage:
    """An image turned upright.

    Args:
        image: as it is stored.
        turn: its EXIF orientation, 2 to 8.
    """
    method, transposed, flips = _TURNS[turn]
    if not isinstance(image, torch.Tensor):
        return image.transpose(method)
    return (image.mT if transposed else image).flip(flips).contiguous()


def turned_values(values: np.ndarray, turn: int) -> np.ndarray:
    """The same of stored values ``(H, W, C)``; an unknown orientation is upright."""
    if turn not in _TURNS:
        return values
    _, transposed, flips = _TURNS[turn]
    return np.flip(values.swapaxes(0, 1) if transposed else values, tuple(axis + 2 for axis in flips))
