"""Factors of a trained position bias, as further channels of queries and keys, for kernels that know no bias.

    logits = scale * q k^T + B    and    B = A C^T    give    [scale * q, A] [k, C]^T

In a window B is a matrix of one head and the factors are its largest singular vectors. In neighborhoods B depends on
key minus query, and the factors are the largest frequencies of the table, whose cosines and sines of a difference are
products of those of its ends. What is the same for all keys of a query cancels in the softmax and is left out.

Shapes: N heads, H W map, D head width, K tokens of a window, R further channels, P Q rows and columns of a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.padding import dense_table
from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.choice import chosen
from visionattn.kernels.geometry import AxisRule, Geometry
from visionattn.kernels.op import Backend, Call, Own
from visionattn.kernels.recording import AnyRecorded, RecordedMap, recorded

if TYPE_CHECKING:
    pass

_MULTIPLE = 8
"""Flash kernels want head widths that are multiples of it."""


@dataclass(frozen=True)
class FactoredTable:
    """What became of the bias of one module.

    Attributes:
        name: of the module.
        num_heads: heads N.
        keys: keys that a query sees, at most.
        rank: further channels R of queries and keys; 0: the bias stays as it is.
        energy: share of the squares of the bias that the factors keep, of the head that loses most.
        largest_error: of a logit.
    """

    name: str
    num_heads: int
    keys: int
    rank: int
    energy: float
    largest_error: float


def factorize_bias(
    model: nn.Module,
    images: Tensor,
    *,
    energy: float = 0.995,
    max_rank: int | None = None,
    backend: str = "auto",
) -> list[FactoredTable]:
    """Let the attentions of a trained model compute their position bias as further channels of queries and keys.

    Wu et al. 2025, *FlashBias: Fast Computation of Attention with Bias*, arXiv 2505.12044. For inference: tables are
    not trained afterwards, and weights that are loaded afterwards do not change the factors. The published code factors
    windows alone; it keeps what the softmax cancels, and so needs a higher rank for the same energy.

    Args:
        model: in evaluation mode; its modules change in place.
        images: what it is called with once, to see the bias of each module.
        energy: share of the squares of each head's bias that its factors keep, at least.
        max_rank: modules that need more further channels than that keep their table.
        backend: of the operators that then run without a bias.

    Returns:
        One entry per module whose attention has a bias, in the order of the calls.

    Raises:
        ValueError: ``energy`` is outside (0, 1], or the model is in training mode.
    """
    if not 0 < energy <= 1 or model.training:
        raise ValueError(f"energy is above 0 and at most 1, got {energy}, and the model is in evaluation mode")
    told = []
    for name, module, table, geometry in _biases(model, images):
        factors, bias = _factors(table.detach(), geometry, energy)
        kept = max_rank is None or factors.rank <= max_rank
        told.append(_entry(name, factors, bias, kept))
        if kept:
            module.factors, module.backend = factors, factors.backend(backend)
            if table.is_leaf:
                table.requires_grad_(False)
    return told


def _biases(model: nn.Module, images: Tensor) -> Iterator[tuple[str, Any, Tensor, Geometry]]:
    """Name, module, table and geometry, where all calls of a module with a ``backend`` have one bias in common."""
    found: dict[str, list[RecordedMap]] = {}
    active: list[str] = []

    def see(call: AnyRecorded) -> None:
        if active and isinstance(call, RecordedMap):
            found.setdefault(active[-1], []).append(call)

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(getattr(module, "backend", None), str):
                enter = module.register_forward_pre_hook(lambda *_, name=name: active.append(name))
                leave = module.register_forward_hook(lambda *_: active.pop() and None)
                stack.callback(enter.remove)
                stack.callback(leave.remove)
        with torch.no_grad(), recorded(see):
            model(images)
    for name, calls in found.items():
        table, geometry = calls[0].table, calls[0].geometry
        if table is not None and not geometry.decay and all(one.table is table for one in calls):
            yield name, model.get_submodule(name), table, geometry


class _Factors(nn.Module):
    """Factors of a bias. Buffers are not saved: they follow from the table."""

    of_queries: Tensor
    of_keys: Tensor

    def __init__(self, geometry: Geometry, of_queries: Tensor, of_keys: Tensor):
        super().__init__()
        self.geometry = geometry
        self.register_buffer("of_queries", of_queries, persistent=False)
        self.register_buffer("of_keys", of_keys, persistent=False)

    @property
    def rank(self) -> int:
        """Further channels R."""
        return self.of_queries.shape[-1]

    def on_map(self, height: int, width: int, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """The factors of queries and keys at every place: ``(H, W, N, R)`` each."""
        raise NotImplementedError

    def backend(self, inner: str) -> Own:
        """The operators with these factors, computed by the backend ``inner`` without a bias."""
        self.inner = inner
        return Own("factored bias", Backend("factored bias", self.attend, self.refuses))

    def refuses(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
        """Why these factors cannot stand for this bias, or ""."""
        if bias is None or geometry.table_shape != self.geometry.table_shape or geometry.decay:
            rows, columns = self.geometry.rows.size, self.geometry.cols.size
            return f"the factors are those of {rows} x {columns} tokens; make them anew for {geometry}"
        if torch.is_grad_enabled() and bias.requires_grad:
            return "factors give no gradient for the position bias: use torch.no_grad()"
        return ""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
        """Attention without a bias; see ``visionattn.kernels.op`` for the arguments."""
        op = window_attention if geometry.is_window else neighborhood_attention
        ours, theirs = (
            x.to(q.dtype).expand(len(q), -1, -1, -1, -1) for x in self.on_map(q.shape[1], q.shape[2], geometry)
        )
        fill = -(q.shape[-1] + self.rank) % _MULTIPLE
        q = F.pad(torch.cat([q * scale, ours], dim=-1), (0, fill))
        k = F.pad(torch.cat([k, theirs], dim=-1), (0, fill))
        wide = F.pad(v, (0, max(q.shape[-1] - v.shape[-1], 0)))  # for kernels that want values as wide as keys
        calls = [Call(q, k, values, None, geometry, 1.0) for values in (v, wide)]
        call = calls[0]
        if self.inner != "auto":
            named = [one for one in op.backends if one.name == self.inner]
            call = next((one for one in calls if not any(map(one.reason, named))), call)
        return call.run(chosen(op.name, op.backends, self.inner, call.reason))[..., : v.shape[-1]]


class _WindowFactors(_Factors):
    """Singular vectors ``(wh, ww, N, R)`` of a window's bias."""

    def on_map(self, height: int, width: int, geometry: Geometry) -> tuple[Tensor, Tensor]:
        rows, cols = _inside(geometry.rows, height, self.of_keys), _inside(geometry.cols, width, self.of_keys)
        at = rows[:, None], cols[None]
        return self.of_queries[at], self.of_keys[at]


class _FrequencyFactors(_Factors):
    """Amplitudes ``(N, 2, R / 2)`` of cosines and sines, and frequencies ``(2, N, R / 2)`` along rows and columns."""

    @property
    def rank(self) -> int:
        return 2 * self.of_queries.shape[-1]

    def on_map(self, height: int, width: int, geometry: Geometry) -> tuple[Tensor, Tensor]:
        rows = torch.arange(height, device=self.of_keys.device) // geometry.rows.dilation
        cols = torch.arange(width, device=self.of_keys.device) // geometry.cols.dilation
        down, across = self.of_keys
        angle = rows[:, None, None, None] * down + cols[:, None, None] * across
        cosines, sines = angle.cos(), angle.sin()
        even, odd = self.of_queries.unbind(1)
        queries = torch.cat([even * cosines - odd * sines, even * sines + odd * cosines], dim=-1)
        return queries, torch.cat([cosines, sines], dim=-1)


def _inside(rule: AxisRule, length: int, like: Tensor) -> Tensor:
    """Where in its window each position of an axis lies."""
    coordinate = torch.arange(length, device=like.device) // rule.dilation
    return (coordinate - rule.shift) % rule.size


def _factors(table: Tensor, geometry: Geometry, energy: float) -> tuple[_Factors, Tensor]:
    """Factors, and the bias that they stand for, ``(N, queries, keys)``."""
    table = table.double()
    if geometry.is_window:
        dense = dense_table(table)
        dense = dense - dense.mean(-1, keepdim=True)
        left, values, right = torch.linalg.svd(dense, full_matrices=False)
        rank = _needed(values.square(), energy)
        root = values[:, None, :rank].sqrt()
        sides = (geometry.rows.size, geometry.cols.size)
        ours, theirs = (
            (root * x).unflatten(1, sides).permute(1, 2, 0, 3).float() for x in (left[..., :rank], right.mT[..., :rank])
        )
        return _WindowFactors(geometry, ours, theirs), dense
    return _frequencies(table, geometry, energy), dense_table(table)


def _frequencies(table: Tensor, geometry: Geometry, energy: float) -> _FrequencyFactors:
    """As many of the table's largest frequencies as keep the energy of the bias, which has near offsets more often."""
    sides = table.shape[1:]
    spectrum = torch.fft.fft2(torch.fft.ifftshift(table, dim=(1, 2))) / math.prod(sides)
    places = torch.cartesian_prod(*(torch.arange(side, device=table.device) for side in sides))
    highest = [side // 2 for side in sides]
    half = [i for i, (p, q) in enumerate(places.tolist()) if 0 < p <= highest[0] or (p == 0 and 0 < q <= highest[1])]
    even, odd = 2 * spectrum.real.flatten(1)[:, half], -2 * spectrum.imag.flatten(1)[:, half]
    powers, order = (even.square() + odd.square()).sort(descending=True)
    turns = 2 * math.pi * places[half][order].double() / torch.tensor(sides, device=table.device)
    amplitudes = torch.stack([even.gather(1, order), odd.gather(1, order)], dim=1)
    count, bias = _needed(powers, energy), dense_table(table)
    while True:
        chosen_turns = turns[:, :count].permute(2, 0, 1).float()
        factors = _FrequencyFactors(geometry, amplitudes[..., :count].float(), chosen_turns)
        if count == powers.shape[-1] or _kept_and_error(factors, bias)[0] >= energy:
            return factors
        count += 1


def _needed(powers: Tensor, energy: float) -> int:
    """How many of the largest powers ``(N, .)`` every head needs for its share of the energy."""
    shares = powers.cumsum(-1) / powers.sum(-1, keepdim=True).clamp(min=torch.finfo(powers.dtype).tiny)
    below = (shares < energy - 1e-12).sum(-1) + 1
    return int(below.max().clamp(max=powers.shape[-1]))


def _kept_and_error(factors: _Factors, bias: Tensor) -> tuple[float, float]:
    """Energy that the factors keep, of the head that loses most, and the largest error of a logit.

    Means over the keys of a query do not count.
    """
    rows, columns = factors.geometry.rows.size, factors.geometry.cols.size
    one = Geometry(AxisRule(rows), AxisRule(columns))
    ours, theirs = (x.flatten(0, 1).double() for x in factors.on_map(rows, columns, one))
    error, bias = (x - x.mean(-1, keepdim=True) for x in (torch.einsum("qnr,knr->nqk", ours, theirs) - bias, bias))
    lost = error.square().sum((1, 2)) / bias.square().sum((1, 2)).clamp(min=torch.finfo(bias.dtype).tiny)
    return float(1 - lost.max()), float(error.abs().max())


def _entry(name: str, factors: _Factors, bias: Tensor, kept: bool) -> FactoredTable:
    """What the factors make of the bias, in figures."""
    keys = factors.geometry.rows.size * factors.geometry.cols.size
    if not kept:
        return FactoredTable(name, len(bias), keys, rank=0, energy=1.0, largest_error=0.0)
    energy, largest = _kept_and_error(factors, bias)
    return FactoredTable(name, len(bias), keys, factors.rank, energy, largest)
