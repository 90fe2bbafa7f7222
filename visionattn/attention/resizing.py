"""Resizing and pooling as products with small matrices.

Sizes may be unknown when a graph is traced, and the gradients of a product are deterministic on every device.

Shapes: B batch, H W map, C channels, L positions of an axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.signature import stats_dtype

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def linear_resizing(
    wanted: int, stored: int, like: Tensor, *, corners: bool = False
) -> Float[Tensor, "{wanted} {stored}"]:
    """Linear interpolation of an axis as a matrix: the identity where sizes are equal.

    Args:
        wanted: positions that come out.
        stored: positions that go in.
        like: a tensor of the device and type of the matrix.
        corners: the first and last positions of both lie on one another (torch's ``align_corners``), not their edges.
    """
    kind: dict[str, Any] = {"dtype": stats_dtype(like.dtype), "device": like.device}
    index = torch.arange(wanted, **kind)
    if corners:
        places = index * (stored - 1) / index[-1].clamp(min=1)
    else:
        places = ((index + 0.5) * stored / torch.full((), wanted, **kind) - 0.5).clamp(0, stored - 1)
    return (1 - (places[:, None] - torch.arange(stored, **kind)).abs()).clamp(min=0).to(like.dtype)


def cubic_resizing(wanted: int, stored: int, like: Tensor) -> Float[Tensor, "{wanted} {stored}"]:
    """Bicubic interpolation of an axis as a matrix: the identity where sizes are equal.

    Keys 1981, *Cubic Convolution Interpolation for Digital Image Processing*, with torch's free parameter of -3/4,
    edges repeated and pixel edges aligned.

    Args:
        wanted: positions that come out.
        stored: positions that go in.
        like: a tensor of the device and type of the matrix.
    """
    kind: dict[str, Any] = {"dtype": stats_dtype(like.dtype), "device": like.device}
    places = (torch.arange(wanted, **kind) + 0.5) * stored / torch.full((), wanted, **kind) - 0.5
    first = places.floor()
    columns = torch.arange(stored, **kind)
    matrix = torch.zeros(wanted, stored, **kind)
    for offset in (-1, 0, 1, 2):
        apart = (places - first - offset).abs()
        near = (1.25 * apart - 2.25) * apart.square() + 1
        far = ((-0.75 * apart + 3.75) * apart - 6) * apart + 3
        taken = (first + offset).clamp(0, stored - 1)[:, None] == columns
        matrix = matrix + taken * torch.where(apart <= 1, near, far)[:, None]
    return matrix.to(like.dtype)


def cell_edges(cells: int, length: int, device: torch.device) -> tuple[Int[Tensor, " L"], Int[Tensor, " L"]]:
    """The first position of each cell of ``nn.AdaptiveAvgPool2d`` along an axis, and the one after its last."""
    cell = torch.arange(cells, device=device)
    return cell * length // cells, ((cell + 1) * length + cells - 1) // cells


def cell_shares(cells: int, length: int, like: Tensor) -> Float[Tensor, "{cells} {length}"]:
    """How much each position of an axis counts in each cell of ``nn.AdaptiveAvgPool2d``; rows sum to 1."""
    row = torch.arange(length, device=like.device)[None]
    first, last = (edge[:, None] for edge in cell_edges(cells, length, like.device))
    return ((row >= first) & (row < last)).to(like.dtype) / (last - first).to(like.dtype)


def mean_cells(x: Float[Tensor, "B H W C"], cells: tuple[int, int]) -> Float[Tensor, "B {cells[0]} {cells[1]} C"]:
    """The means of rows and columns of rectangles of a map, as ``nn.AdaptiveAvgPool2d`` takes them; in float32."""
    with autocast_disabled(x.device):
        full = x if x.dtype == torch.float64 else x.float()
        rows, columns = (cell_shares(count, size, full) for count, size in zip(cells, x.shape[1:3], strict=True))
        strips = (rows @ full.flatten(2)).unflatten(2, x.shape[2:])
        return (columns @ strips).to(x.dtype)


def resized_map(x: Float[Tensor, "H W C"], size: tuple[int, int]) -> Float[Tensor, "{size[0]} {size[1]} C"]:
    """A learned map, resized bilinearly."""
    with autocast_disabled(x.device):
        rows, columns = (linear_resizing(wanted, own, x) for wanted, own in zip(size, x.shape[:2], strict=True))
        return columns @ (rows @ x.flatten(1)).unflatten(1, x.shape[1:])
