"""Combinators: mixers made of mixers.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.mixer import MixerFactory, StageContext, declared

if TYPE_CHECKING:
    from jaxtyping import Float


def _as_list(mixers: Mapping[str, MixerFactory] | Sequence[MixerFactory]) -> list[MixerFactory]:
    factories = list(mixers.values()) if isinstance(mixers, Mapping) else list(mixers)
    if not factories:
        raise ValueError("a combinator needs at least one mixer, got none")
    return factories


class Alternate:
    """Takes turns along the stage: block 0 gets the first mixer, block 1 the second, and so on around.

    Each mixer counts only its own blocks, so window attention alternating with another mixer is still shifted every
    second time it occurs.

    Args:
        mixers: mixer factories, in order.
    """

    def __init__(self, mixers: Mapping[str, MixerFactory] | Sequence[MixerFactory]):
        self.mixers = _as_list(mixers)

    def __call__(self, dim: int, num_heads: int, index: int = 0) -> nn.Module:
        turn, position = divmod(index, len(self.mixers))
        return self.mixers[position](dim=dim, num_heads=num_heads, index=turn)


class Leading:
    """The first blocks of a stage get one mixer, the others another, which counts from where it begins.

    Args:
        first: factory of the mixers of the first blocks.
        then: factory of the others.
        count: how many blocks are first.

    Raises:
        ValueError: ``count`` is negative.
    """

    def __init__(self, first: MixerFactory, then: MixerFactory, count: int = 1):
        if count < 0:
            raise ValueError(f"the number of first blocks cannot be negative, got {count}")
        self.first, self.then, self.count = first, then, count

    def __call__(self, dim: int, num_heads: int, index: int = 0) -> nn.Module:
        if index < self.count:
            return self.first(dim=dim, num_heads=num_heads, index=index)
        return self.then(dim=dim, num_heads=num_heads, index=index - self.count)


class Parallel:
    """Splits the channels evenly: each mixer gets its share of channels and heads, and the results are concatenated.

    Args:
        mixers: mixer factories, in the order of the channels.
    """

    def __init__(self, mixers: Mapping[str, MixerFactory] | Sequence[MixerFactory]):
        self.mixers = _as_list(mixers)

    def __call__(self, dim: int, num_heads: int, index: int = 0) -> ParallelMixer:
        count = len(self.mixers)
        if dim % count or num_heads % count:
            raise ValueError(f"cannot share {dim} channels and {num_heads} heads evenly among {count} parallel mixers")
        share = {"dim": dim // count, "num_heads": num_heads // count, "index": index}
        return ParallelMixer([mixer(**share) for mixer in self.mixers])


class ParallelMixer(nn.Module):
    """What :class:`Parallel` builds. ``(B, H, W, C) -> (B, H, W, C)``."""

    def __init__(self, branches: Sequence[nn.Module]):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        parts, contexts = x.chunk(len(self.branches), dim=-1), self._contexts(context)
        return torch.cat(
            [branch(part, own) for branch, part, own in zip(self.branches, parts, contexts, strict=True)], dim=-1
        )

    @property
    def gates_heads(self) -> bool:
        """Whether the heads of every branch can be weighed; see :class:`visionattn.attention.Mixer`."""
        return all(declared(branch, "gates_heads") for branch in self.branches)

    @property
    def num_heads(self) -> int:
        """Heads of all branches."""
        return sum(declared(branch, "num_heads") or 0 for branch in self.branches)

    def _contexts(self, context: StageContext | None) -> list[StageContext | None]:
        """The context of each branch, with the gates of its own heads."""
        if context is None or context.gates is None:
            return [context] * len(self.branches)
        gates = context.gates.chunk(len(self.branches), dim=-1)
        return [replace(context, gates=own) for own in gates]
