"""Corruptions of images: what a camera or a file does to a picture, in five severities.

In the manner of ImageNet-C (Hendrycks and Dietterich 2019, *Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations*, arXiv 1903.12261): six of its fifteen kinds, with its strengths, drawn by this module at
the size of the evaluated image. They are not the published files, so the scores are not the published ones
(``data=imagenet_c`` reads those files). Lengths in pixels are for 224 pixels and grow with the image.

Shapes: C channels, H W image.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from visionattn.data.seeding import stable_seed

SEVERITIES = (1, 2, 3, 4, 5)
_PUBLISHED_SIDE = 224
Pixels = np.ndarray
"""uint8 ``(H, W, 3)``."""


def corrupted(pixels: Pixels, kind: str, severity: int, seed: int, name: str) -> Pixels:
    """An image with one corruption; the same arguments give the same pixels.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        kind: one of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        seed: of what is drawn.
        name: of the image; images of other names get other noise.
    """
    random = np.random.RandomState(stable_seed("corruption", kind, severity, seed, name, bits=32))
    return CORRUPTIONS[kind](pixels, severity - 1, random)


def _noise(pixels: Pixels, severity: int, random: np.random.RandomState) -> Pixels:
    """Gaussian noise of the sensor."""
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[severity]
    return _to_8_bits(pixels + 255 * random.normal(0, deviation, pixels.shape))


def _blur(pixels: Pixels, severity: int, random: np.random.RandomState) -> Pixels:
    """A Gaussian blur."""
    deviation = (1, 2, 3, 4, 6)[severity] * min(pixels.shape[:2]) / _PUBLISHED_SIDE
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(deviation)))


def _brightness(pixels: Pixels, severity: int, random: np.random.RandomState) -> Pixels:
    """A larger value, in hue, saturation and value."""
    more = 255 * (0.1, 0.2, 0.3, 0.4, 0.5)[severity]
    value = pixels.max(axis=-1, keepdims=True).astype(np.float64)
    wanted = np.minimum(value + more, 255)
    return _to_8_bits(np.where(value > 0, pixels * wanted / np.maximum(value, 1), wanted))


def _contrast(pixels: Pixels, severity: int, random: np.random.RandomState) -> Pixels:
    """Less distance from the mean of each channel."""
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity]
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _to_8_bits(mean + share * (pixels - mean))


def _pixelate(pixels: Pixels, severity: int, random: np.random.RandomState) -> Pixels:
    """A smaller image, enlarged again without interpolation."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity]
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((max(1, int(width * share)), max(1, int(height * share))), _BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def _jpeg(pixels: Pixels, severity: int, random: np.random.RandomState) -> Pixels:
    """JPEG of low quality."""
    quality = (25, 18, 15, 10, 7)[severity]
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _to_8_bits(pixels: np.ndarray) -> Pixels:
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


_BOX = Image.Resampling.BOX
CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.RandomState], Pixels]] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
"""Name -> function of an image, the severity counted from 0, and a random state."""
