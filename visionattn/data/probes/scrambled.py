"""Scrambled images: a texture in each corner, and the class is their order around the middle.

A control of global structure with the texture kept, as one scrambles images to see what a network goes by (Geirhos et
al. 2018, *ImageNet-trained CNNs are biased towards texture*, arXiv 1811.12231; Brendel and Bethge 2019, *Approximating
CNNs with bag-of-local-features models*, arXiv 1904.00760). The drawing is our own.

Every image has the same four pieces, one of each texture, with angle, phase, period and brightness of their own. The
six classes are the six orders in which they can follow each other clockwise. No local shortcut is left:

- All textures occur in all classes, and every order stands in its four rotations, so each texture is in each corner
  equally often in every class.
- Each piece lies within its quarter of the image, and a quarter of the side parts it from the others.

A sum of what windows tell, each within a quarter of the image and by itself, has the same mean in all classes: the
least cross entropy that it can reach is that of guessing, and it is right once in six.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from PIL import Image

from visionattn.data.probes.canvas import add_noise, ground
from visionattn.data.seeding import stable_seed
from visionattn.data.shapes.textures import Random, pattern
from visionattn.errors import ConfigError

TEXTURES = {"checks": (240, 90, 70), "clouds": (240, 230, 90), "dots": (90, 220, 110), "stripes": (90, 120, 250)}
ORDERS = tuple(("checks", *rest) for rest in permutations(list(TEXTURES)[1:]))
CLASSES = tuple("_".join(order) for order in ORDERS)
_CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))  # row and column, clockwise
_SMALLEST = 48


def draw_scrambled(count: int, image_size: int, split: str, seed: int) -> Iterator[tuple[int, Image.Image]]:
    """Labels and images of one split; the classes take turns, and each its four rotations.

    Args:
        count: images.
        image_size: side in pixels, a multiple of 8.
        split: ``train`` or ``val``.
        seed: of everything that is drawn.

    Raises:
        ConfigError: an impossible size.
    """
    if image_size % 8 or image_size < _SMALLEST:
        raise ConfigError(
            f"scrambled images have a side of a multiple of 8 from {_SMALLEST} pixels on, not image_size={image_size}"
        )
    return _draw(count, image_size, split, seed)


def _draw(count: int, image_size: int, split: str, seed: int) -> Iterator[tuple[int, Image.Image]]:
    for index in range(count):
        turn, label = divmod(index, len(ORDERS))
        random = Random(stable_seed("scrambled", seed, split, index, bits=32))
        yield label, render(label, turn % len(_CORNERS), image_size, random)


def render(label: int, rotation: int, image_size: int, random: Random) -> Image.Image:
    """The image of an order; its first texture stands in the corner ``rotation``, counted clockwise."""
    pixels = ground(image_size)
    side = 3 * image_size // 8
    for number, texture in enumerate(ORDERS[label]):
        row, column = _CORNERS[(number + rotation) % len(_CORNERS)]
        top, left = row * (image_size - side), column * (image_size - side)
        share = pattern(texture, (side, side), random, random.uniform(0.25, 0.4) * side)
        piece = pixels[top : top + side, left : left + side]
        light = (0.5 * np.array(TEXTURES[texture], np.float32) + 0.5 * piece) * random.uniform(0.85, 1.1)
        piece[:] = light * (0.4 + 0.6 * share[..., None])
    return add_noise(pixels, random)
