"""Images as a Python program has them: files, Pillow images, arrays, tensors, and several of them.

Shapes: B batch, C channels, H W image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from visionattn.data.decode import DecodedImage
from visionattn.data.user_images import LISTS, UserImage, find_images, is_address
from visionattn.errors import DataError
from visionattn.runs.reading import ReadImages

Images = str | Path | Image.Image | np.ndarray | Tensor | Sequence[Any]
"""One image, or several: a path, folder, pattern or address; a Pillow image; an array; a tensor; a list of these."""
_RGB = 3


@dataclass(frozen=True)
class ImageInMemory(UserImage):
    """An image that is no file.

    Attributes:
        pixels: decoded.
    """

    pixels: DecodedImage = field(repr=False, kw_only=True)


class ReadAny(ReadImages):
    """Images read as :class:`ReadImages` reads them; those in memory are taken as they are."""

    def _read(self, image: UserImage) -> DecodedImage:
        return image.pixels if isinstance(image, ImageInMemory) else super()._read(image)


def images_of(given: Images, channels: int) -> tuple[list[UserImage], bool]:
    """The images that an argument stands for, and whether it is a single one.

    Args:
        given: see :data:`Images`. Arrays are ``(H, W)``, ``(H, W, C)``; tensors ``(C, H, W)`` or ``(B, C, H, W)``; of 8
            bits, or floats from 0 to 1.
        channels: of the images that the model takes.

    Raises:
        DataError: nothing there, or values or shapes that are no image; says what was got.
    """
    if isinstance(given, Tensor) and given.ndim == 4:
        given = list(given)
    if isinstance(given, str | Path):
        return find_images(str(given)), _is_one(given)
    if isinstance(given, Image.Image | np.ndarray | Tensor):
        return [_in_memory(given, 1, channels)], True
    if not isinstance(given, Iterable):
        raise DataError(f"an image is a path, a Pillow image, an array or a tensor, or several of them; got {given!r}")
    return _several(list(given), channels), False


def _is_one(source: str | Path) -> bool:
    path = Path(source).expanduser()
    return is_address(str(source)) or (path.is_file() and path.suffix.lower() not in LISTS)


def _several(given: Sequence[Any], channels: int) -> list[UserImage]:
    if not given:
        raise DataError("there is no image in the list")
    if all(isinstance(one, str | Path) for one in given):
        return find_images([str(one) for one in given])
    found: list[UserImage] = []
    for number, one in enumerate(given, 1):
        found += find_images(str(one)) if isinstance(one, str | Path) else [_in_memory(one, number, channels)]
    return found


def _in_memory(image: Any, number: int, channels: int) -> ImageInMemory:
    pixels = _pixels(image, channels)
    name = f"image_{number}"

    def read() -> bytes:
        raise DataError(f"{name} is no file")

    return ImageInMemory(name, name, read, pixels=pixels)


def _pixels(image: Any, channels: int) -> DecodedImage:
    """An image in memory as a decoder gives it.

    Raises:
        DataError: see :func:`images_of`.
    """
    if isinstance(image, Image.Image):
        if channels == _RGB:
            return image.convert("RGB")
        image = np.asarray(image)
    if isinstance(image, np.ndarray):
        array = image[..., None] if image.ndim == 2 else image
        if array.ndim != 3:
            raise DataError(f"an image is an array (H, W) or (H, W, C), got one of shape {image.shape}")
        image = torch.from_numpy(np.array(array)).permute(2, 0, 1)
    if not isinstance(image, Tensor) or image.ndim != 3:
        got = f"a tensor of shape {tuple(image.shape)}" if isinstance(image, Tensor) else f"a {type(image).__name__}"
        raise DataError(f"an image is a path, a Pillow image, an array (H, W, C) or a tensor (C, H, W), got {got}")
    pixels = _eight_bits(image.detach().cpu())
    if pixels.shape[0] == 1 and channels == _RGB:
        pixels = pixels.expand(_RGB, -1, -1)
    if pixels.shape[0] != channels or 0 in pixels.shape:
        raise DataError(
            f"the model takes images of {channels} channels, got a tensor (C, H, W) of shape {tuple(pixels.shape)}"
        )
    if channels == _RGB:  # as a file of it would be decoded: resizing gives the same pixels then
        return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    return pixels.contiguous()


def _eight_bits(image: Tensor) -> Tensor:
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise DataError(f"pixels are uint8, or floats from 0 to 1; got {str(image.dtype).removeprefix('torch.')}")
    low, high = (float(image.min()), float(image.max())) if image.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"pixels are uint8, or floats from 0 to 1; got floats from {low:.3g} to {high:.3g}. The model normalizes "
            "images itself"
        )
    return (image * 255).round().to(torch.uint8)
