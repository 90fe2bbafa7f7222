"""Sizes of images in a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from visionattn.errors import ConfigError

ImageSize = int | Sequence[int]
"""One number for both edges, or (height, width)."""


def as_size(image_size: ImageSize) -> tuple[int, int]:
    """(height, width) from one number or two.

    Raises:
        ConfigError: something else, or not positive.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(int(edge) for edge in image_size)
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"image_size is one number or [height, width], all positive, got {image_size}")
    return size
