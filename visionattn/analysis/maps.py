"""Attention maps: what a token attends to, exactly, in every block and head.

Shapes: N heads, h w map of keys, H W map of a stage, B batch, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.analysis.choosing import Choice, Point, as_points, choose
from visionattn.analysis.grids import layout_of, token_at
from visionattn.analysis.implicit import implicit_attention
from visionattn.analysis.trace import BlockTrace, Part, Recording, Size, StageTrace, record
from visionattn.kernels.recording import Recorded

ATTENTION, IMPLICIT = "attention", "implicit"


@dataclass(frozen=True)
class AttentionMap:
    """What one token attends to in some heads of a block.

    Attributes:
        stage: ``s1``, ``s2``, ...
        block: its number in the stage, from 0 on.
        mixer: class of the mixer; FasterViT's blocks have two mixers, and what is before the colon tells them apart.
        kind: ``attention``: probabilities; ``implicit``: the mixer has no matrix over tokens, and these are the
            relative sizes of the output's gradient with respect to each token that went in.
        point: (row, column) of the image, in shares of its height and width.
        token: row and column of the token that holds the point, on the map of the stage.
        heads: numbers of the heads.
        weights: ``(N, h, w)`` for these heads. They sum to 1 together with ``front``.
        cell: pixels of the image along each side of an entry.
        origin: (top, left) in pixels of the image; below 0 where padding stands before the map.
        real: ``(h, w)``, whether an entry is a token of the map; the others are padding.
        front: weight of each head ``(N,)`` on tokens that lie on no map, such as carriers.
    """

    stage: str
    block: int
    mixer: str
    kind: str
    point: Point
    token: Size
    heads: tuple[int, ...]
    weights: Tensor
    cell: float
    origin: tuple[float, float]
    real: Tensor
    front: Tensor

    @property
    def padding(self) -> Tensor:
        """The weight of each head ``(N,)`` on padding."""
        return (self.weights * ~self.real).sum((1, 2))


def attention_maps(
    model: nn.Module,
    image: Tensor,
    points: Any = None,
    *,
    stages: Any = None,
    blocks: Any = None,
    heads: Any = None,
) -> list[AttentionMap]:
    """The attention of the tokens at some points of an image, in every block and head.

    The probabilities are those of the attention itself, computed from its queries and keys; times the values they give
    what the block computed. A mixer without a matrix over tokens (convolution, pooling, channel attention) gets its
    implicit attention.

    Args:
        model: a backbone of visionattn, or a task around one.
        image: normalized, ``(C, H, W)`` or ``(1, C, H, W)``, of any size.
        points: [row, column] in shares of height and width, one or several; None: the center and four around it.
        stages: ``s1``, ``s2``, ...; None: all.
        blocks: numbers from 0 on; None: all.
        heads: numbers from 0 on; None: all.

    Raises:
        ValueError: a point outside of the image, or a stage, block or head that the model does not have.
    """
    where, choice = as_points(points), choose(model, stages, blocks, heads)
    return maps_in(record(model, image), where, choice)


def maps_in(kept: Recording, points: tuple[Point, ...], choice: Choice) -> list[AttentionMap]:
    """The same of a recorded pass."""
    return [
        found
        for stage, block, part in choice.parts(kept)
        for point in points
        for found in _maps_of(kept, stage, block, part, point, choice)
    ]


def _maps_of(
    kept: Recording, stage: StageTrace, block: BlockTrace, part: Part, point: Point, choice: Choice
) -> Iterator[AttentionMap]:
    token = token_at(point, kept.image_size, stage.stride, stage.grid)
    common: dict[str, Any] = {"stage": stage.name, "block": block.index, "mixer": label_of(part, block)}
    common |= {"point": point, "token": token}
    if not part.matrices:
        weights = implicit_attention(part, token)[None]
        real = torch.zeros_like(weights[0], dtype=torch.bool)
        real[: stage.grid[0], : stage.grid[1]] = True
        shape: dict[str, Any] = {
            "cell": float(stage.stride),
            "origin": (0.0, 0.0),
            "real": real,
            "front": weights.new_zeros(1),
        }
        yield AttentionMap(**common, kind=IMPLICIT, heads=(0,), weights=weights, **shape)
    first = 0
    for call in part.matrices:
        heads = tuple(first + i for i in range(call.num_heads) if choice.has_head(first + i))
        chosen = [head - first for head in heads]
        first += call.num_heads
        if chosen:
            layout = layout_of(call, part, block, stage)
            weights, front = _weights(call, layout.query_at(token, call))
            yield AttentionMap(
                **common,
                kind=ATTENTION,
                heads=heads,
                weights=weights[chosen],
                cell=layout.key_cell * stage.stride,
                origin=(-float(layout.origin[0] * stage.stride), -float(layout.origin[1] * stage.stride)),
                real=layout.real_keys(call),
                front=front[chosen],
            )


def label_of(part: Part, block: BlockTrace) -> str:
    """What a mixer is called."""
    name = part.name.rpartition(".")[0]
    return f"{name}: {part.kind}" if name and len(block.parts) > 1 else part.kind


def _weights(call: Recorded, query: int) -> tuple[Tensor, Tensor]:
    """The weights of one query on the map ``(N, h, w)``, and all on tokens that lie on none ``(N,)``."""
    rows = call.rows(torch.tensor([query], device=call.q.device))
    dense = rows.dense(call.num_keys)[0, :, 0].detach()
    places = call.key_grid[0] * call.key_grid[1]
    return dense[:, :places].unflatten(1, call.key_grid), dense[:, places:].sum(1)
