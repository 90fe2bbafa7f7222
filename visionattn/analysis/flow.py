"""Shares of tokens on their way from the output of a hierarchical backbone down to its patches.

The product of the matrices of all blocks is taken from the output down: a few rows are multiplied with one sparse
matrix after the other, whose rows are computed when they are needed. No matrix of a whole map is ever held.

Shapes: P rows of shares, H W map of a stage, h w map of carriers, Q queries, K keys.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visionattn.analysis.grids import (
    Layout,
    among_carriers,
    carriers_on,
    cells_to_tokens,
    cropped_map,
    layout_of,
    padded_map,
)
from visionattn.analysis.trace import BlockTrace, Part, Recording, StageTrace
from visionattn.kernels.probabilities import Probabilities
from visionattn.kernels.recording import Groups, Recorded, RecordedTokens


class Rule(ABC):
    """What a mixer does to shares on their way down."""

    @abstractmethod
    def weigh(self, call: Recorded, rows: Probabilities, real: Tensor) -> Tensor:
        """One weight ``(Q, K)`` for the heads of a call, their mean; ``real`` ``(Q, K)`` tells keys from padding."""

    @abstractmethod
    def mix(self, old: Tensor, moved: Tensor, part: Part) -> Tensor:
        """The shares before a mixer, of those behind it and of these times its matrix."""


@dataclass
class State:
    """Shares of the tokens of a stage ``(P, H, W)``, and of its carriers ``(P, h, w)`` where it has any."""

    tokens: Tensor
    front: Tensor | None = None


def through_stages(kept: Recording, starts: dict[int, Tensor], rule: Rule) -> Tensor:
    """Shares on the map of the stem ``(P, H, W)``, from shares ``starts`` on the maps of stages, which add up."""
    state: Tensor | None = None
    for stage in reversed(kept.stages[: max(starts) + 1]):
        if stage.index in starts:
            state = starts[stage.index] if state is None else state + starts[stage.index]
        assert state is not None
        state = _through_stage(stage, state, rule)
        if stage.index:
            state = _upsampled(state, stage)
    assert state is not None
    return state


def _through_stage(stage: StageTrace, tokens: Tensor, rule: Rule) -> Tensor:
    state = _with_carriers(stage, tokens)
    for block in reversed(stage.blocks):
        for part in reversed(block.parts):
            if part.matrices:
                state = _through_part(state, part, block, stage, rule)
    return _without_carriers(stage, state)


def _upsampled(tokens: Tensor, stage: StageTrace) -> Tensor:
    """Shares of the tokens of the map before the downsampling layer."""
    factor = max(1, -(-stage.before[0] // stage.grid[0]))
    return cells_to_tokens(tokens, stage.before, factor)


def _through_part(state: State, part: Part, block: BlockTrace, stage: StageTrace, rule: Rule) -> State:
    """The shares before a mixer; its matrix is the mean over all its heads."""
    heads = sum(call.num_heads for call in part.matrices)
    tokens = torch.zeros_like(state.tokens)
    front = None if state.front is None else torch.zeros_like(state.front)
    for call in part.matrices:
        layout = layout_of(call, part, block, stage)
        moved = _through_call(state, call, layout, among_carriers(part), rule)
        tokens += moved.tokens * call.num_heads / heads
        if front is not None and moved.front is not None:
            front += moved.front * call.num_heads / heads
    if not among_carriers(part):  # a mixer of the carriers leaves the tokens alone
        tokens = rule.mix(state.tokens, tokens, part)
    else:
        tokens = state.tokens
    if front is not None and state.front is not None:
        front = rule.mix(state.front, front, part)
    return State(tokens, front)


def _through_call(state: State, call: Recorded, layout: Layout, carriers: bool, rule: Rule) -> State:
    """The shares times the matrix of one call."""
    asked = state.front if carriers and state.front is not None else state.tokens
    if not carriers:
        asked = padded_map(asked, call.query_grid, layout.origin)
    vector, real = asked.flatten(1), layout.real_keys(call).flatten()
    joined = not carriers and state.front is not None
    if joined and state.front is not None:
        vector = torch.cat([vector, state.front.flatten(1)], dim=1)
        real = torch.cat([real, _real_carriers(call, layout, state.front)])
    out = _times(vector, call, real, rule)
    places = call.key_grid[0] * call.key_grid[1]
    keys, rest = out[:, :places].unflatten(1, call.key_grid), out[:, places:]
    if carriers:
        return State(torch.zeros_like(state.tokens), keys)
    front = rest.view_as(state.front) if joined and state.front is not None else None
    if layout.key_cell > 1:
        return State(cells_to_tokens(keys, (state.tokens.shape[1], state.tokens.shape[2]), int(layout.key_cell)), front)
    return State(cropped_map(keys, layout.keys, layout.origin), front)


def _real_carriers(call: Recorded, layout: Layout, front: Tensor) -> Tensor:
    """Which carriers stand for tokens of the map, not for padding."""
    real = torch.zeros(front.shape[1:], dtype=torch.bool, device=front.device)
    rows, columns = carriers_on(layout.keys, call.key_grid[0] / front.shape[1])
    real[:rows, :columns] = True
    return real.flatten()


def _times(vector: Tensor, call: Recorded, real: Tensor, rule: Rule) -> Tensor:
    """``(P, queries) -> (P, keys)``, in parts: only the rows of queries with a share are computed."""
    out = vector.new_zeros(len(vector), call.num_keys)
    for queries in call.parts():
        asked = queries[(vector[:, queries] != 0).any(0)]
        if len(asked):
            rows = call.rows(asked)
            places = rows.keys.clamp(min=0).expand(len(asked), -1)
            weights = rule.weigh(call, rows, real[places]).to(vector.dtype)
            out.index_add_(1, places.flatten(), (vector[:, asked, None] * weights).flatten(1))
    return out


def _with_carriers(stage: StageTrace, tokens: Tensor) -> State:
    """Shares behind the last block; a stage that adds its carriers to the tokens shares evenly between both."""
    groups = next(_groups(stage), None)
    if groups is None:
        return State(tokens)
    front = tokens.new_zeros(len(tokens), *groups.front_grid)
    if not stage.module.propagate:
        return State(tokens, front)
    rows, columns = (torch.arange(side) // groups.side * groups.front for side in stage.grid)
    rows = rows + torch.arange(stage.grid[0]) % groups.side * groups.front // groups.side
    columns = columns + torch.arange(stage.grid[1]) % groups.side * groups.front // groups.side
    at = (rows[:, None] * groups.front_grid[1] + columns[None]).flatten()
    front.view(len(tokens), -1).index_add_(1, at.to(tokens.device), tokens.flatten(1) / 2)
    return State(tokens / 2, front)


def _without_carriers(stage: StageTrace, state: State) -> Tensor:
    """Shares of the map that enters the stage: each carrier is the mean of a rectangle of it."""
    if state.front is None:
        return state.tokens
    groups = next(_groups(stage))
    sides = zip(groups.grid, stage.grid, strict=True)
    down, across = (_means(stage, state.tokens, padded, own) for padded, own in sides)
    return state.tokens + torch.einsum("phw,hi,wj->pij", state.front, down, across)


def _means(stage: StageTrace, like: Tensor, padded: int, own: int) -> Tensor:
    """Which share of each carrier along an axis is which real token, ``(carriers, tokens)``; rows sum to 1."""
    unit = torch.eye(padded, dtype=like.dtype, device=like.device)[None, None]
    means = stage.module.means(unit)[0, 0, :own].T
    return means / means.sum(1, keepdim=True).clamp_min(torch.finfo(like.dtype).tiny)


def _groups(stage: StageTrace) -> Iterator[Groups]:
    for block in stage.blocks:
        for part in block.parts:
            for call in part.matrices:
                if isinstance(call, RecordedTokens) and call.groups is not None:
                    yield call.groups
