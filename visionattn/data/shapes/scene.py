"""A drawn image: textured regions, overlapping shapes with light and shadow, and the object of every pixel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from visionattn.data.shapes.outlines import SHAPE_NAMES, draw_mask
from visionattn.data.shapes.textures import TEXTURE_NAMES, Random, mix, pattern, random_color

_FINE = 3  # shapes are drawn this much larger, then averaged: smooth edges
_MIN_AREA = 12  # visible pixels
_MIN_VISIBLE = 0.35  # of every shape's area, after all later ones are drawn


@dataclass
class Instance:
    """One shape, or a crowd of small ones of a kind; ``mask``, bool ``(H, W)``, has the visible pixels only."""

    label: int
    mask: np.ndarray
    drawn_area: int
    crowd: bool = False


@dataclass
class Scene:
    """An image that is being drawn.

    Attributes:
        image: float32 ``(H, W, 3)`` in 0..255.
        ground: texture of every pixel, int ``(H, W)``.
        instances: the shapes, from back to front.
    """

    image: np.ndarray
    ground: np.ndarray
    instances: list[Instance] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.ground.shape[0], self.ground.shape[1]

    def rendered(self) -> Image.Image:
        """The image with 8 bits."""
        return Image.fromarray(np.clip(np.round(self.image), 0, 255).astype(np.uint8))


def draw_ground(size: tuple[int, int], random: Random, max_regions: int = 3) -> Scene:
    """A background of one to ``max_regions`` textured regions with bent borders."""
    scene = Scene(np.zeros((*size, 3), np.float32), np.zeros(size, np.int64))
    kinds = random.permutation(len(TEXTURE_NAMES))[: random.randint(1, max_regions + 1)]
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) / max(size)
    for number, kind in enumerate(kinds):
        angle, bend, phase = random.uniform(0, 2 * np.pi), random.uniform(0.02, 0.1), random.uniform(0, 6)
        along = (y - 0.5) * np.cos(angle) - (x - 0.5) * np.sin(angle)
        across = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
        region = across > random.uniform(-0.15, 0.25) + bend * np.sin(7 * along + phase)
        if number == 0:
            region = np.ones(size, dtype=bool)
        dark, light = random_color(random, (0.1, 0.55), (0.25, 0.6)), random_color(random, (0.05, 0.5), (0.5, 0.95))
        share = pattern(TEXTURE_NAMES[kind], size, random, random.uniform(0.07, 0.14) * max(size))
        share = 0.5 + (share - 0.5) * random.uniform(0.45, 0.9)
        scene.image[region] = mix(dark, light, share)[region]
        scene.ground[region] = kind
    return scene


def random_transform(radius: float, random: Random) -> np.ndarray:
    """A random rotation with a mild stretch, scaled to ``radius``, ``(2, 2)``."""
    angle, stretch = random.uniform(0, 2 * np.pi), random.uniform(0.87, 1.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([radius * stretch, radius / stretch])


def add_shape(scene: Scene, label: int, center: tuple[float, float], radius: float, random: Random) -> bool:
    """Draw one shape in front of everything; False where it would hide another one too much."""
    transform = random_transform(radius * _FINE, random)
    window = _window(scene.size, center, radius)
    height, width = scene.ground[window].shape
    local = ((center[0] - window[1].start) * _FINE, (center[1] - window[0].start) * _FINE)
    fine = draw_mask(SHAPE_NAMES[label], (height * _FINE, width * _FINE), local, transform)
    cover = np.asarray(Image.fromarray(fine).resize((width, height), Image.Resampling.BOX), dtype=np.float32) / 255
    mask = np.zeros(scene.size, dtype=bool)
    mask[window] = cover >= 0.5
    area = int(mask.sum())
    if area < _MIN_AREA or any(_too_hidden(other, mask) for other in scene.instances):
        return False
    for other in scene.instances:
        other.mask &= ~mask
    _paint(scene.image[window], mask[window], cover, radius, random)
    scene.instances.append(Instance(label, mask, area))
    return True


def _window(size: tuple[int, int], center: tuple[float, float], radius: float) -> tuple[slice, slice]:
    """Rows and columns that a shape and its shadow can reach."""
    reach = 1.6 * radius + 3
    rows, columns = (
        slice(max(0, min(edge - 1, int(middle - reach))), max(1, min(edge, int(middle + reach) + 1)))
        for edge, middle in ((size[0], center[1]), (size[1], center[0]))
    )
    return rows, columns


def _too_hidden(other: Instance, mask: np.ndarray) -> bool:
    return int((other.mask & ~mask).sum()) < max(_MIN_AREA, _MIN_VISIBLE * other.drawn_area)


def _paint(image: np.ndarray, mask: np.ndarray, cover: np.ndarray, radius: float, random: Random) -> None:
    """Paint one shape into ``image`` ``(H, W, 3)``, in place: shadow, color or pattern, light from a side, rim."""
    size = (image.shape[0], image.shape[1])
    below = image[mask].mean(axis=0)
    colors = [random_color(random, (0.35, 1.0), (0.35, 1.0)) for _ in range(12)]
    color = max(colors[: random.randint(2, 13)], key=lambda c: min(float(np.abs(c - below).sum()), 170.0))
    if random.uniform() < 0.6:
        _shadow(image, cover, radius, random)
    inside = np.broadcast_to(color, (*size, 3)).copy()
    if random.uniform() < 0.45:
        kind = TEXTURE_NAMES[random.randint(len(TEXTURE_NAMES))]
        share = pattern(kind, size, random, random.uniform(0.25, 0.5) * radius + 3)
        inside = mix(color, random_color(random, (0.2, 1.0), (0.3, 1.0)), share * random.uniform(0.2, 0.55))
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    light = (x * np.cos(angle) + y * np.sin(angle)) / (2 * radius + 1)
    inside *= 1 + 0.22 * np.clip(light - light[mask].mean(), -1, 1)[..., None]
    if random.uniform() < 0.4:
        inside[_rim(mask, max(1, round(0.09 * radius)))] *= random.choice([0.45, 0.6, 1.5])
    image += (np.clip(inside, 0, 255) - image) * cover[..., None]


def _shadow(image: np.ndarray, cover: np.ndarray, radius: float, random: Random) -> None:
    """Darken ``image``, in place, around the shape that follows."""
    right, down = (float(shift) for shift in random.uniform(-0.18, 0.18, 2) * radius)
    blurred = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.12 * radius + 0.6))
    moved = blurred.transform(blurred.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down))
    image *= 1 - 0.45 * np.asarray(moved, dtype=np.float32)[..., None] / 255


def _rim(mask: np.ndarray, width: int) -> np.ndarray:
    inner = mask.copy()
    for _ in range(min(width, 6)):
        padded = np.pad(inner, 1)
        inner = inner & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return mask & ~inner


def add_crowd(scene: Scene, label: int, random: Random) -> bool:
    """Draw many small shapes of one kind, which become a single instance."""
    height, width = scene.size
    before = len(scene.instances)
    edge = min(height, width)
    center = random.uniform(0.25, 0.75, 2) * (width, height)
    for _ in range(random.randint(14, 26)):
        x, y = center + random.normal(0, 0.13 * edge, 2)
        add_shape(scene, label, (float(x), float(y)), random.uniform(0.035, 0.06) * edge, random)
    members = scene.instances[before:]
    del scene.instances[before:]
    if len(members) < 6:
        return False
    mask = np.any([member.mask for member in members], axis=0)
    scene.instances.append(Instance(label, mask, int(mask.sum()), crowd=True))
    return True


def add_lighting(scene: Scene, random: Random) -> None:
    """Add uneven light, sometimes a slight blur, and sensor noise."""
    height, width = scene.size
    light = pattern("clouds", (height, width), random, 0.8 * max(height, width))
    scene.image *= 0.8 + 0.4 * light[..., None]
    if random.uniform() < 0.3:
        blurred = scene.rendered().filter(ImageFilter.GaussianBlur(random.uniform(0.3, 0.9)))
        scene.image = np.asarray(blurred, dtype=np.float32).copy()
    scene.image += random.normal(0, random.uniform(2, 9), scene.image.shape)
