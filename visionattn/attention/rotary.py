"""Rotary position: queries and keys are turned by angles that grow with their position.

Shapes: B batch, H W map, N heads, D head width, M maps that are turned, F = D / 2 frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visionattn.attention.mixer import StageContext
from visionattn.kernels.geometry import certainly

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding: Su et al. 2021, *RoFormer*, arXiv 2104.09864.

    Neighboring channels are pairs, and the pair of frequency f turns by ``position * base ** -f``, f from 0 to 1.
    Scores of turned queries and keys depend on the difference of their positions alone.

    A position is the index of a token on the flattened map, ``row * W + column`` (RMT, PPMA: a map of another width has
    other angles), or, with ``axial``, its row for the first half of the channels and its column for the other (MALA).

    A mixer that has one as its attribute ``rotary`` finds the table for its stage's map in the stage's context, where
    it is computed once for all blocks; elsewhere :meth:`table` computes it. Angles are float32 whatever is turned.

    Args:
        width: channels D of a head.
        axial: rows and columns apart.
        base: the last frequency turns ``base`` times as slowly as the first.

    Raises:
        ValueError: channels of a head that cannot be paired.
    """

    width: int
    axial: bool = False
    base: float = 10000.0

    def __post_init__(self) -> None:
        pairs = 4 if self.axial else 2
        if self.width % pairs or self.width < pairs:
            kind = "axial rotary" if self.axial else "rotary"
            raise ValueError(f"{kind} position needs head widths that are multiples of {pairs}, got {self.width}")

    @property
    def key(self) -> str:
        """Under which name a stage's context holds the table."""
        return f"{'axial' if self.axial else 'flat'} {self.width} {self.base}"

    def table(self, height: int, width: int, device: torch.device | None = None) -> Float[Tensor, "2 H W F"]:
        """Cosine and sine of every angle on a map of ``height`` rows and ``width`` columns."""
        rows, columns = (torch.arange(side, dtype=torch.float32, device=device) for side in (height, width))
        count = self.width // 4 if self.axial else self.width // 2
        frequency = 1 / self.base ** torch.linspace(0, 1, count, device=device)
        if self.axial:
            down, across = rows[:, None, None] * frequency, columns[None, :, None] * frequency
            angles = torch.cat([down.expand(-1, width, -1), across.expand(height, -1, -1)], dim=-1)
        else:
            angles = (rows[:, None, None] * width + columns[None, :, None]) * frequency
        return torch.stack([angles.cos(), angles.sin()])

    def turn(self, x: Float[Tensor, "B H W M N D"], context: StageContext | None) -> Float[Tensor, "B H W M N D"]:
        """Turn the heads of maps, such as stacked queries and keys, by the angles of their tokens."""
        height, width = x.shape[1:3]
        table = None if context is None else context.rotary.get(self.key)
        if table is None or not (certainly(table.shape[1] == height) and certainly(table.shape[2] == width)):
            table = self.table(height, width, x.device)
        cos, sin = table[:, :, :, None, None].unbind(0)
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return turned.flatten(-2).to(x.dtype)
