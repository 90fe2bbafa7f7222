"""Statistics of attention heads: how far they look, how sharply, and how much a prediction depends on them.

Shapes: N heads, Q queries, K keys, H W map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.analysis.choosing import Choice, choose
from visionattn.analysis.grids import Layout, layout_of
from visionattn.analysis.maps import label_of
from visionattn.analysis.relevances import Backward, backward, score_of
from visionattn.analysis.trace import Recording, StageTrace, record
from visionattn.kernels.recording import Recorded


@dataclass(frozen=True)
class HeadStatistics:
    """One head of a block on one image.

    Attributes:
        stage: ``s1``, ``s2``, ...
        block: its number in the stage, from 0 on.
        mixer: class of the mixer.
        head: its number, from 0 on.
        distance: mean distance in pixels from a query to what it attends to, weighted by attention, over all queries.
        entropy: mean entropy of a query's attention in bits.
        keys: keys that a query sees on average; ``log2(keys)`` bits would be even attention.
        padding: mean weight on padding and on tokens that lie on no map (carriers).
        importance: how much the score changes at first order if the head is taken away, ``|sum of gradient *
            output|`` (Michel, Levy and Neubig 2019, arXiv 1905.10650); None where no score was asked for.
    """

    stage: str
    block: int
    mixer: str
    head: int
    distance: float
    entropy: float
    keys: float
    padding: float
    importance: float | None


def head_statistics(
    model: nn.Module,
    image: Tensor,
    target: int | str | None = None,
    *,
    stages: Any = None,
    blocks: Any = None,
    heads: Any = None,
) -> list[HeadStatistics]:
    """Distance, entropy and importance of every head whose attention is over tokens.

    Mean distances are those of Dosovitskiy et al. 2020, arXiv 2010.11929. The importance is that of one prediction: of
    the task, or of the classifier that a backbone has; see :func:`visionattn.analysis.relevance` for ``target``.

    Args:
        model: a backbone of visionattn, or a task around one.
        image: normalized, ``(C, H, W)`` or ``(1, C, H, W)``.
        target: which prediction; None: the most certain one.
        stages: ``s1``, ``s2``, ...; None: all.
        blocks: numbers from 0 on; None: all.
        heads: numbers from 0 on; None: all.

    Raises:
        ValueError: a stage, block or head that the model does not have.
        ConfigError: the model predicts no such thing.
    """
    choice = choose(model, stages, blocks, heads)
    try:
        score = score_of(model, image, target, (0.5, 0.5))
    except ValueError:  # a backbone alone predicts nothing
        if target is not None:
            raise
        return statistics_in(record(model, image), choice)
    done = backward(model, image, score)
    return statistics_in(done.kept, choice, done)


def statistics_in(kept: Recording, choice: Choice, done: Backward | None = None) -> list[HeadStatistics]:
    """The same of a recorded pass, with the gradient of a score or without."""
    return list(_statistics(kept, choice, done))


def _statistics(kept: Recording, choice: Choice, done: Backward | None) -> Iterator[HeadStatistics]:
    for stage, block, part in choice.parts(kept):
        first = 0
        for call in part.matrices:
            layout = layout_of(call, part, block, stage)
            with torch.no_grad():
                figures = _figures(call, layout, stage)
                importance = _importance(call, None if done is None else done.gradients.get(id(call)))
            for head in range(call.num_heads):
                if choice.has_head(first + head):
                    distance, entropy, keys, padding = (float(values[head]) for values in figures)
                    value = None if importance is None else float(importance[head])
                    name, number = label_of(part, block), first + head
                    yield HeadStatistics(stage.name, block.index, name, number, distance, entropy, keys, padding, value)
            first += call.num_heads


def _figures(call: Recorded, layout: Layout, stage: StageTrace) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distance, entropy, keys and padding of each head: means over the real queries."""
    real, count = layout.real_keys(call).flatten(), 0
    totals = torch.zeros(4, call.num_heads, dtype=torch.float64, device=call.q.device)
    for queries in call.parts():
        asked = queries[_real_queries(call, layout, queries)]
        if not len(asked):
            continue
        rows = call.rows(asked)
        weights, keys = rows.weights[0].double(), rows.keys.clamp(min=0)
        on_map = (rows.keys >= 0) & (keys < len(real))
        kept = weights * (real[keys.clamp(max=len(real) - 1)] & on_map)
        distance = _distances(call, layout, rows.queries, keys) * stage.stride
        totals[0] += ((kept * distance).sum(-1) / kept.sum(-1).clamp_min(1e-30)).sum(1)
        totals[1] += torch.special.entr(weights).sum((-1, -2)) / torch.log(torch.tensor(2.0))
        totals[2] += (rows.keys >= 0).sum()
        totals[3] += (weights - kept).sum((-1, -2))
        count += len(asked)
    distance, entropy, keys_seen, padding = totals / max(count, 1)
    return distance, entropy, keys_seen, padding


def _real_queries(call: Recorded, layout: Layout, queries: Tensor) -> Tensor:
    """Whether queries stand for tokens of the stage's map."""
    width = call.query_grid[1]
    row, column = queries // width - layout.origin[0], queries % width - layout.origin[1]
    rows, columns = layout.queries
    return (row >= 0) & (row < rows) & (column >= 0) & (column < columns) & (queries < call.query_grid[0] * width)


def _distances(call: Recorded, layout: Layout, queries: Tensor, keys: Tensor) -> Tensor:
    """Distances in tokens between the centers of queries and keys, ``(Q, K)``."""
    asked = _centers(queries, call.query_grid[1], layout.query_cell)[:, None]
    seen = _centers(keys, call.key_grid[1], layout.key_cell)
    return (asked - seen).double().norm(dim=-1)


def _centers(places: Tensor, width: int, cell: float) -> Tensor:
    return (torch.stack([places // width, places % width], -1) + 0.5) * cell


def _importance(call: Recorded, grad: Tensor | None) -> Tensor | None:
    """``|sum of gradient * output|`` of each head: the derivative with respect to a factor on its output."""
    if grad is None:
        return None
    heads = call.head_axis % grad.dim()
    return (grad * call.out).double().sum([axis for axis in range(grad.dim()) if axis != heads]).abs()
