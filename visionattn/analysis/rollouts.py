"""Attention rollout through a hierarchy: how much of a token comes from where, if attention alone moved content.

Shapes: P outputs asked for, H W map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.analysis.choosing import Point, as_points, stage_of
from visionattn.analysis.flow import Rule, through_stages
from visionattn.analysis.grids import token_at
from visionattn.analysis.trace import Part, Recording, record
from visionattn.kernels.probabilities import Probabilities
from visionattn.kernels.recording import Recorded


@dataclass(frozen=True)
class Flow:
    """Shares of the image's patches.

    Attributes:
        points: what was asked for, one for each map; None: the mean over the last map, as a classifier pools.
        values: ``(P, H, W)`` on the map of the stem.
        stride: pixels of the image along each side of a patch.
        passed_over: mixers without a matrix over tokens, which were taken for the identity.
    """

    points: tuple[Point | None, ...]
    values: Tensor
    stride: int
    passed_over: tuple[str, ...]


def rollout(model: nn.Module, image: Tensor, points: Any = None, *, stage: Any = None) -> Flow:
    """Attention rollout of the tokens at some points: Abnar and Zuidema 2020, arXiv 2005.00928.

    As published a block is ``(A + I) / 2`` with A the mean of its heads. Here A is sparse, the product is taken from
    the output down, so that no matrix of a whole map is ever held, and a downsampling layer passes the share of a token
    on to the square of tokens that it stands for, evenly. Padding is left out, and the rest of a row scaled to sum to
    1. Mixers without a matrix over tokens are taken for the identity.

    Args:
        model: a backbone of visionattn, or a task around one.
        image: normalized, ``(C, H, W)`` or ``(1, C, H, W)``.
        points: [row, column] in shares of height and width; None: the mean over the whole map.
        stage: whose map the points are taken on; None: the last one.

    Returns:
        maps that sum to 1.

    Raises:
        ValueError: a point outside of the image, or no such stage.
    """
    where: tuple[Point | None, ...] = (None,) if points is None else as_points(points)
    index = stage_of(model, stage)
    return rollout_in(record(model, image), where, index)


def rollout_in(kept: Recording, points: tuple[Point | None, ...], index: int) -> Flow:
    """The same of a recorded pass, from the map of the stage ``index`` down."""
    stage = kept.stages[index]
    start = torch.zeros(len(points), *stage.grid, dtype=kept.features[0].dtype, device=kept.features[0].device)
    for i, point in enumerate(points):
        if point is None:
            start[i] = 1 / start[i].numel()
        else:
            row, column = token_at(point, kept.image_size, stage.stride, stage.grid)
            start[i, row, column] = 1
    with torch.no_grad():
        values = through_stages(kept, {index: start}, _Rollout())
    return Flow(points, values, kept.stages[0].stride, passed_over(kept, index))


def passed_over(kept: Recording, last: int) -> tuple[str, ...]:
    """Mixers without a matrix over tokens in the stages up to ``last``, each once."""
    found = [part.kind for stage, _, part in kept.parts() if stage.index <= last and not part.matrices]
    return tuple(dict.fromkeys(found))


class _Rollout(Rule):
    """The mean of the identity and of the heads' mean, whose rows sum to 1 without padding.

    A token that attends to padding alone, as routed attention may, keeps what it has.
    """

    def weigh(self, call: Recorded, rows: Probabilities, real: Tensor) -> Tensor:
        weights = rows.weights[0].mean(0) * real
        own = (rows.keys == rows.queries[:, None]).to(weights)
        weights = torch.where(weights.sum(-1, keepdim=True) == 0, own, weights)
        return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)

    def mix(self, old: Tensor, moved: Tensor, part: Part) -> Tensor:
        return (old + moved) / 2
