"""What a token mixer is, and what its stage tells it.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class StageContext:
    """What the blocks of one stage share; built once per forward and never changed, so recomputation is safe.

    Attributes:
        size: height and width of the stage's map, in tokens.
        rope: rotary position tables, where the family uses them.
        tokens: global tokens computed once for the stage (GC ViT's query, for example).
        prior: what the stage before handed on.
    """

    size: tuple[int, int]
    rope: Any = None
    tokens: Tensor | None = None
    prior: Tensor | None = None


class Mixer(Protocol):
    """Mixes the tokens of one map: ``(B, H, W, C) -> (B, H, W, C)``, for any H and W."""

    def __call__(self, x: Tensor, context: StageContext | None = None) -> Tensor: ...


MixerFactory = Callable[..., nn.Module]
"""Called by a stage as ``factory(dim=..., num_heads=..., index=...)``; ``index`` is the block's place in its stage."""
