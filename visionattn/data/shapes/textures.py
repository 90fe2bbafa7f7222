"""Patterns for backgrounds and for the insides of shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

Random = np.random.RandomState


def _grid(size: tuple[int, int], random: Random) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates, turned by a random angle and shifted."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = random.uniform(0, np.pi)
    shift = random.uniform(0, 100, 2)
    u = x * np.cos(angle) + y * np.sin(angle) + shift[0]
    v = y * np.cos(angle) - x * np.sin(angle) + shift[1]
    return u, v


def _stripes(size: tuple[int, int], random: Random, period: float) -> np.ndarray:
    u, _ = _grid(size, random)
    return _sharpen(np.sin(2 * np.pi * u / period))


def _checks(size: tuple[int, int], random: Random, period: float) -> np.ndarray:
    u, v = _grid(size, random)
    return _sharpen(np.sin(2 * np.pi * u / (2 * period)) * np.sin(2 * np.pi * v / (2 * period)))


def _dots(size: tuple[int, int], random: Random, period: float) -> np.ndarray:
    u, v = _grid(size, random)
    return _sharpen(np.cos(2 * np.pi * u / period) + np.cos(2 * np.pi * v / period) - 0.6)


def _waves(size: tuple[int, int], random: Random, period: float) -> np.ndarray:
    u, v = _grid(size, random)
    bend = random.uniform(0.5, 0.9) * period
    return _sharpen(np.sin(2 * np.pi * (u + bend * np.sin(2 * np.pi * v / (2.5 * period))) / period))


def _clouds(size: tuple[int, int], random: Random, period: float) -> np.ndarray:
    total = np.zeros(size, dtype=np.float32)
    for octave in range(3):
        cell = max(2.0, period * 2 / 2**octave)
        grid = random.uniform(-1, 1, (int(size[0] / cell) + 3, int(size[1] / cell) + 3)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((size[1], size[0]), Image.Resampling.BICUBIC)) / 2**octave
    return np.clip(0.5 + 0.6 * total, 0, 1)


def _sharpen(wave: np.ndarray) -> np.ndarray:
    """Map a wave in about -1..1 to 0..1, with steep but smooth flanks."""
    return 0.5 + 0.5 * np.clip(1.8 * wave, -1, 1)


_TEXTURES: dict[str, Callable[[tuple[int, int], Random, float], np.ndarray]] = {
    "checks": _checks,
    "clouds": _clouds,
    "dots": _dots,
    "stripes": _stripes,
    "waves": _waves,
}

TEXTURE_NAMES = tuple(_TEXTURES)


def pattern(name: str, size: tuple[int, int], random: Random, period: float) -> np.ndarray:
    """A pattern, float32 ``(H, W)`` in 0..1, that repeats every ``period`` pixels."""
    return _TEXTURES[name](size, random, period).astype(np.float32)


def random_color(random: Random, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """A random color, float32 ``(3,)`` in 0..255, of random hue, saturation and value."""
    hue, low, high = random.uniform(0, 6), random.uniform(*saturation), random.uniform(*value)
    ramp = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return (255 * high * (1 - low + low * ramp)).astype(np.float32)


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate two colors ``(3,)`` by a share ``(H, W)`` to ``(H, W, 3)``."""
    return first + (second - first) * share[..., None]
