"""What the probes draw on: a ground whose color tells the place, and noise."""

from __future__ import annotations

import numpy as np
from PIL import Image

from visionattn.data.shapes.textures import Random

_NOISE = 4  # standard deviation, of 255


def ground(edge: int) -> np.ndarray:
    """A ground whose red grows to the right and whose green grows downwards, float32 ``(edge, edge, 3)`` in 0..255.

    So every patch shows where it lies, and a mixer without positions (full attention has none) is not at a
    disadvantage.
    """
    along = np.linspace(100, 190, edge, dtype=np.float32)
    x, y = np.meshgrid(along, along)
    return np.stack([x, y, np.full_like(x, 150)], axis=-1)


def add_noise(pixels: np.ndarray, random: Random) -> Image.Image:
    """The image with 8 bits and sensor noise."""
    noisy = pixels + random.normal(0, _NOISE, pixels.shape)
    return Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
