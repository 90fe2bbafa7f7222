"""Recursive gated convolutions: interactions of high order between a token and its surroundings, without attention.

Shapes: B batch, H W map, C channels, h w rows and columns of the stored spectrum.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.fourier import filtered, filtered_by_products
from visionattn.attention.mixer import StageContext
from visionattn.attention.resizing import linear_resizing
from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.linear import Linear
from visionattn.kernels.norm import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Float


class GlobalLocalFilter(nn.Module):
    """A depthwise 3x3 convolution of half of the channels and a learned filter of all frequencies for the others.

    Rao et al. 2022, HorNet, arXiv 2207.14284; the filter is that of Rao et al. 2021, *Global Filter Networks for Image
    Classification*, arXiv 2107.00645. A layer norm comes before and after; the channels of the halves alternate in the
    result. The Fourier transform is computed in float32, and the spectrum is resized to the map bilinearly, corner to
    corner, as published.

    Args:
        dim: channels C; of an odd number the convolution takes one more, which comes last.
        size: rows and columns of the stored spectrum: the map's height, and half of its width plus one.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    resizable_parameters = ("spectrum",)

    def __init__(self, dim: int, size: tuple[int, int]):
        super().__init__()
        near = dim - dim // 2
        self.conv = nn.Conv2d(near, near, 3, padding=1, groups=near, bias=False)
        self.spectrum = nn.Parameter(torch.empty(dim // 2, *size, 2))
        nn.init.trunc_normal_(self.spectrum, std=0.02)
        self.without_softmax = True  # that a backend computes
        self.backend = "auto"  # "traceable" in exported graphs: matrix products in place of Fourier transforms
        self.norm1, self.norm2 = LayerNorm(dim, eps=1e-6), LayerNorm(dim, eps=1e-6)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        pairs = self.spectrum.shape[0]
        near, far = self.norm1(x).permute(0, 3, 1, 2).split([self.conv.in_channels, pairs], dim=1)
        near = self.conv(near)
        both = torch.stack([near[:, :pairs], self._filtered(far)], dim=2).flatten(1, 2)
        return self.norm2(torch.cat([both, near[:, pairs:]], dim=1).permute(0, 2, 3, 1))

    def stretched(self, spectrum: Tensor, own: Tensor) -> Tensor:
        """Another model's spectrum with the sides of this one, bilinearly, corner to corner, as published."""
        parts = F.interpolate(spectrum.permute(3, 0, 1, 2), own.shape[1:3], mode="bilinear", align_corners=True)
        return parts.permute(1, 2, 3, 0)

    def _filtered(self, x: Tensor) -> Tensor:
        with autocast_disabled(x.device):
            sizes = (1, x.shape[2]), (2, x.shape[3] // 2 + 1)
            rows, columns = (
                linear_resizing(wanted, self.spectrum.shape[axis], self.spectrum.float(), corners=True).expand(
                    len(self.spectrum), -1, -1
                )
                for axis, wanted in sizes
            )
            parts = self.spectrum.float().unbind(-1)
            real, imaginary = (torch.bmm(torch.bmm(rows, part), columns.transpose(1, 2)) for part in parts)
            if self.backend == "traceable":
                return filtered_by_products(x.float(), real, imaginary).to(x.dtype)
            return filtered(x.float(), torch.complex(real, imaginary)).to(x.dtype)


class GatedConvolution(nn.Module):
    """Recursive gated convolution (gnConv).

    Rao et al. 2022, *HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions*, arXiv
    2207.14284.

    One projection makes a first part of ``C / 2**(order - 1)`` channels and parts that double up to C (rounded down
    where C is no such multiple; published widths are). A depthwise convolution (or a :class:`GlobalLocalFilter`)
    spreads the doubling parts over the map. The first part is multiplied with the smallest of them, projected to the
    width of the next and multiplied with it, and so on: each product raises the order of the interaction by one. Cost
    per token: about ``3.7 * C**2`` multiply-adds and those of the convolution of nearly 2 C channels.

    Args:
        dim: channels C, at least ``2**(order - 1)``.
        num_heads: ignored; there are none.
        index: ignored; all blocks are alike.
        order: number of products.
        kernel_size: odd side of the depthwise convolution.
        scale: factor on what it gives.
        filter_size: rows and columns of the spectrum of a :class:`GlobalLocalFilter` in place of the convolution; None:
            the convolution.

    Raises:
        ValueError: ``order`` is below 1 or too high for C, or ``kernel_size`` is even.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 1,
        index: int = 0,
        *,
        order: int = 3,
        kernel_size: int = 7,
        scale: float = 1 / 3,
        filter_size: tuple[int, int] | None = None,
    ):
        super().__init__()
        if order < 1 or dim < 2 ** (order - 1):
            raise ValueError(f"a gated convolution of order {order} cannot divide {dim} channels: use a lower order")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to keep the size of the map, got {kernel_size}")
        self.widths, self.scale = [dim // 2**power for power in reversed(range(order))], scale
        spread = sum(self.widths)
        self.proj_in, self.proj = Linear(dim, self.widths[0] + spread), Linear(dim, dim)
        self.spread: nn.Module
        if filter_size is None:
            self.spread = nn.Conv2d(spread, spread, kernel_size, padding=kernel_size // 2, groups=spread)
            nn.init.trunc_normal_(self.spread.weight, std=0.02)
            nn.init.zeros_(self.spread.get_parameter("bias"))
        else:
            self.spread = GlobalLocalFilter(spread, (filter_size[0], filter_size[1]))
        self.raise_order = nn.ModuleList(Linear(width, following) for width, following in pairwise(self.widths))

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        x, parts = self.proj_in(x).split([self.widths[0], sum(self.widths)], dim=-1)
        if isinstance(self.spread, nn.Conv2d):
            parts = self.spread(parts.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        else:
            parts = self.spread(parts)
        first, *others = (parts * self.scale).split(self.widths, dim=-1)
        x = x * first
        for project, part in zip(self.raise_order, others, strict=True):
            x = project(x) * part
        return self.proj(x)

    def extra_repr(self) -> str:
        return f"order={len(self.widths)}"
