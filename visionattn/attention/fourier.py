"""A map filtered by a spectrum, by Fourier transforms or, for graphs that have none, by matrix products.

Shapes: B batch, C channels, H W map, V half of the width plus one, rounded down.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Complex, Float


def filtered(x: Float[Tensor, "B C H W"], spectrum: Complex[Tensor, "C H V"]) -> Float[Tensor, "B C H W"]:
    """The circular convolution of each channel whose transfer function is ``spectrum``: Fourier, product, inverse."""
    frequencies = torch.fft.rfft2(x, norm="ortho") * spectrum
    return torch.fft.irfft2(frequencies, s=x.shape[2:], norm="ortho")


def filtered_by_products(
    x: Float[Tensor, "B C H W"], real: Float[Tensor, "C H V"], imaginary: Float[Tensor, "C H V"]
) -> Float[Tensor, "B C H W"]:
    """The same, written out with cosines and sines, for a spectrum in two parts; it costs more on large maps.

    ONNX Runtime has no inverse transform of half a spectrum.
    """
    (row_cos, row_sin), (cos, sin) = _waves(x.shape[2], x.shape[2], x), _waves(x.shape[3], real.shape[2], x)
    a, b = x @ cos, -(x @ sin)
    a, b = row_cos @ a + row_sin @ b, row_cos @ b - row_sin @ a
    a, b = a * real - b * imaginary, a * imaginary + b * real
    a, b = row_cos @ a - row_sin @ b, row_cos @ b + row_sin @ a
    width, wave = torch.full((), x.shape[3], device=x.device), torch.arange(real.shape[2], device=x.device)
    once = (wave == 0) | (2 * wave == width)  # the other frequencies stand for their mirror images too
    weight = (2 - once.to(x.dtype)) / (width * x.shape[2])
    return (a * weight) @ cos.T - (b * weight) @ sin.T


def _waves(length: int, frequencies: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``(length, frequencies)`` of the transform of an axis."""
    place, wave = torch.arange(length, device=like.device)[:, None], torch.arange(frequencies, device=like.device)[None]
    size = torch.full((), length, device=like.device)
    angle = (place * wave % size).to(like.dtype) * (2 * pi) / size
    return angle.cos(), angle.sin()
