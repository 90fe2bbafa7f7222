"""How the maps of attention lie on the map of their stage: padding, cells, tokens under a point.

Shapes: P numbers of maps, H W map of a stage, h w map of attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.analysis.trace import BlockTrace, Part, Size, StageTrace
from visionattn.kernels.recording import Recorded, RecordedTokens


@dataclass(frozen=True)
class Layout:
    """How the maps of queries and keys of a call lie on the map of its stage.

    Attributes:
        queries: rows and columns of queries that stand for tokens of the stage; the others are padding.
        keys: the same of keys.
        origin: row and column of the first of them on the padded map.
        query_cell: tokens along each side of what a query stands for.
        key_cell: the same of a key.
    """

    queries: Size
    keys: Size
    origin: Size
    query_cell: float = 1.0
    key_cell: float = 1.0

    def query_at(self, token: Size, call: Recorded) -> int:
        """The place of the query that stands for a token."""
        row, column = (int(place // self.query_cell) + start for place, start in zip(token, self.origin, strict=True))
        return row * call.query_grid[1] + column

    def real_keys(self, call: Recorded) -> Tensor:
        """Which keys of the padded map stand for tokens of the stage, bool ``(h, w)``."""
        real = torch.zeros(call.key_grid, dtype=torch.bool, device=call.q.device)
        (top, left), (rows, columns) = self.origin, self.keys
        real[top : top + rows, left : left + columns] = True
        return real


def layout_of(call: Recorded, part: Part, block: BlockTrace, stage: StageTrace) -> Layout:
    """How a call's maps lie on the map of its stage."""
    grid = stage.grid
    if among_carriers(part):
        spacing = getattr(block.module, "window", 1) / getattr(block.module, "per_side", 1)
        covered = carriers_on(grid, spacing)
        return Layout(covered, covered, (0, 0), spacing, spacing)
    if isinstance(call, RecordedTokens) and call.cell > 1:
        return Layout(grid, call.key_grid, (0, 0), 1.0, call.cell)
    return Layout(grid, grid, origin_of(part, grid, call.query_grid))


def carriers_on(grid: Size, spacing: float) -> Size:
    """Rows and columns of carriers that stand for tokens of a map; the others stand for padding."""
    return math.ceil(grid[0] / spacing), math.ceil(grid[1] / spacing)


def among_carriers(part: Part) -> bool:
    """Whether a mixer works on the map of all carriers, not on that of the tokens."""
    return part.name.startswith("carrier.")


def origin_of(part: Part, grid: Size, padded: Size) -> Size:
    """Row and column of the padded map at which the stage's map begins."""
    missing = [max(side - own, 0) for side, own in zip(padded, grid, strict=True)]
    if any(part.padding_front) and any(missing):
        return part.padding_front
    return (missing[0] // 2, missing[1] // 2) if part.padding_before else (0, 0)


def padded_map(values: Tensor, padded: Size, origin: Size) -> Tensor:
    """``(P, H, W)`` with zeros around it; what the padded map does not hold is cut off."""
    bottom, right = (side - own - start for side, own, start in zip(padded, values.shape[1:], origin, strict=True))
    return F.pad(values, (origin[1], right, origin[0], bottom))


def cropped_map(values: Tensor, grid: Size, origin: Size) -> Tensor:
    """The part of ``(P, h, w)`` that is the stage's map."""
    return padded_map(values, grid, (-origin[0], -origin[1]))


def cells_to_tokens(values: Tensor, grid: Size, cell: int) -> Tensor:
    """Share each value of ``(P, h, w)`` evenly among the tokens of its cell: ``(P, H, W)``, the same sum."""
    if cell == 1:
        return values
    places = [torch.arange(side, device=values.device) // cell for side in grid]
    counts = [torch.bincount(place, minlength=size) for place, size in zip(places, values.shape[1:], strict=True)]
    shared = values / (counts[0][:, None] * counts[1][None]).clamp(min=1)
    return shared[:, places[0][:, None], places[1][None]]


def token_at(point: tuple[float, float], image: Size, stride: int, grid: Size) -> Size:
    """Row and column of the token of a stage that holds a point of the image."""
    row, column = (
        min(int(share * side) // stride, count - 1) for share, side, count in zip(point, image, grid, strict=True)
    )
    return row, column
