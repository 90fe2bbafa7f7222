"""Attention inside clusters of similar tokens, and the clusters: runs of equal length in an order of the tokens.

This is the balanced hierarchical clustering of BOAT (Yu et al. 2022, arXiv 2201.13027). Level after level every run of
tokens is cut in half. Two centroids start from the sums of its first and its second half; two rounds of soft assignment
move them; then the tokens are sorted by how much nearer they are to the first centroid than to the second. The order
that a level leaves is where the next one starts.

Runs of T tokens that are not a multiple of their number differ by one token in length. The number of levels follows
from T alone, so no run is ever empty, whatever the tokens are: a centroid to which no token is assigned is zero, as
near to all tokens, and the sort still cuts in half. Ties keep their order, so that two calls give the same. Nothing
about the order has a gradient.

How many clusters there are, and so most shapes, depends on the size of the map. A graph of any size keeps all of it as
one registered operator, ``visionattn::clustered_attention``, whose backward pass computes the attention again.

Shapes: B batch, T tokens, N heads, D head width, G runs, L the longest of them, S tokens taken of one, R images times
heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from visionattn.errors import ConfigError
from visionattn.kernels.custom_op import LIBRARY, define
from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.tokens import token_attention

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ROUNDS, SHARPNESS = 2, 100.0
"""Of the soft assignment, as published."""


@dataclass(frozen=True)
class Runs:
    """Tokens in a row, cut into runs whose lengths differ by one at most: run g begins at ``g * tokens // count``.

    Attributes:
        tokens: T.
        count: runs G, not more than T.
    """

    tokens: int
    count: int

    @property
    def longest(self) -> int:
        """Length L of the longest run."""
        return (self.tokens + self.count - 1) // self.count

    @property
    def equal(self) -> bool:
        """Whether all runs have one length."""
        return self.longest * self.count == self.tokens

    def starts(self, device: torch.device) -> Int[Tensor, " G"]:
        """Where each run begins."""
        return torch.arange(self.count, device=device) * self.tokens // self.count

    def apart(self, x: Float[Tensor, "B T *_"] | Int[Tensor, "B T"]) -> Tensor:
        """``(B, T, ...) -> (B, G, L, ...)``; a run that is shorter ends with the first token of the next one."""
        if self.equal:
            return x.unflatten(1, (self.count, self.longest))
        places = self.starts(x.device)[:, None] + torch.arange(self.longest, device=x.device)
        return x.index_select(1, places.flatten()).unflatten(1, (self.count, self.longest))

    def joined(self, x: Float[Tensor, "B G L *_"] | Int[Tensor, "B G L"]) -> Tensor:
        """The inverse of :meth:`apart`; what a shorter run has borrowed is dropped."""
        x = x.flatten(1, 2)
        if self.equal:
            return x
        places = torch.arange(self.tokens, device=x.device)
        run = ((places + 1) * self.count - 1) // self.tokens
        return x.index_select(1, run * self.longest + places - run * self.tokens // self.count)


def clustered_attention(
    q: Float[Tensor, "B T N D"],
    k: Float[Tensor, "B T N D"],
    v: Float[Tensor, "B T N D"],
    *,
    cluster_size: int,
    overlap: int,
    scale: float | None = None,
    backend: str = "auto",
) -> Float[Tensor, "B T N D"]:
    """Attention of each query to its cluster and to the nearest keys of the cluster that was split off it last.

    The clusters are as many, a power of two, as leave each of them ``cluster_size`` tokens or more. Both clusters of a
    pair see a run of the pair's tokens: the first one those in front, the second one those at the end.

    Args:
        q: queries ``(B, T, N, D)``, which decide the clusters.
        k: keys, of the same shape.
        v: values, of the same shape.
        cluster_size: tokens of a cluster, at least, where there are so many.
        overlap: keys of the other cluster, not more than ``cluster_size``.
        scale: of the logits; None: ``D ** -0.5``.
        backend: that of :func:`visionattn.kernels.token_attention`, or "auto". ``traceable`` is for graphs of one size:
            it needs no operator but torch's.

    Raises:
        ConfigError: ``traceable``, and the number of tokens is a symbol.
    """
    if backend == "traceable" and not isinstance(q.shape[1], int):
        raise ConfigError(
            "the number of clusters of similar tokens follows from the size of the map, so that no graph of any size "
            "holds content attention (BOAT) without visionattn"
        )
    factor = q.shape[3] ** -0.5 if scale is None else scale
    if torch.compiler.is_compiling() and backend != "traceable":
        out: Tensor = _clustered_op(q, k, v, cluster_size, overlap, factor, backend)
        return out
    return _clustered(q, k, v, cluster_size, overlap, factor, backend)


def _clustered(q: Tensor, k: Tensor, v: Tensor, cluster_size: int, overlap: int, scale: float, backend: str) -> Tensor:
    tokens = q.shape[1]
    levels = max(tokens // cluster_size, 1).bit_length() - 1
    order = balanced_order(q, levels)
    inverse = inverse_order(order)
    runs = Runs(tokens, 2 ** max(levels - 1, 0))
    queries = (runs.longest + 1) // 2
    keys = min(queries + overlap, runs.longest) if levels else tokens
    q, k, v = (
        _both_ends(runs.apart(rearranged(x, order, inverse)), taken)
        for x, taken in ((q, queries), (k, keys), (v, keys))
    )
    out = token_attention(q, k, v, scale=scale, backend=backend)
    first, second = out.unflatten(0, (-1, runs.count, 2)).unbind(2)
    placed = runs.joined(torch.cat([first, second[:, :, 2 * queries - runs.longest :]], dim=2))
    return rearranged(placed, inverse, order)


def _both_ends(pairs: Float[Tensor, "B G L N D"], taken: int) -> Float[Tensor, "_ S N D"]:
    """The first and the last tokens of each run, one after the other."""
    return torch.stack([pairs[:, :, :taken], pairs[:, :, pairs.shape[2] - taken :]], dim=2).flatten(0, 2)


def balanced_order(q: Float[Tensor, "B T N D"], levels: int) -> Int[Tensor, "B N T"]:
    """The order in which ``2**levels`` clusters of similar tokens stand one after the other.

    Args:
        q: what is compared, ``(B, T, N, D)``; by cosine similarity, in float32 or wider.
        levels: how often runs are cut in half, with ``2**levels <= T``.

    Returns:
        The index of the token at each place, for each image and head.

    Raises:
        ValueError: more clusters than tokens.
    """
    batch, tokens, heads = q.shape[:3]
    if levels and 2**levels > tokens:
        raise ValueError(
            f"{2**levels} clusters ({levels} levels) are more than the {tokens} tokens: some would be empty"
        )
    with torch.no_grad(), autocast_disabled(q.device):
        rows = q.transpose(1, 2).flatten(0, 1).to(torch.promote_types(q.dtype, torch.float32))
        order = torch.arange(tokens, device=q.device).expand(batch * heads, tokens)
        for level in range(levels):
            runs = Runs(tokens, 2**level)
            placed = rows.gather(1, order[..., None].expand(rows.shape)) if level else rows
            order = runs.joined(runs.apart(order).gather(2, _halves(runs.apart(placed), runs)))
        return order.reshape(batch, heads, tokens)


def inverse_order(order: Int[Tensor, "B N T"]) -> Int[Tensor, "B N T"]:
    """The place of each token in an order."""
    places = torch.arange(order.shape[-1], device=order.device).expand(order.shape)
    return torch.empty_like(order).scatter_(-1, order, places)


class _Rearranged(torch.autograd.Function):
    """Rows of ``x`` in another order; the gradient is the other way round, so that nothing is ever added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        order, inverse = ctx.saved_tensors
        return _Rearranged.apply(grads[0], inverse, order), None, None


def rearranged(
    x: Float[Tensor, "B T N D"], order: Int[Tensor, "B N T"], inverse: Int[Tensor, "B N T"]
) -> Float[Tensor, "B T N D"]:
    """The tokens of each head in the order that :func:`balanced_order` found.

    Args:
        x: tokens.
        order: the token of each place.
        inverse: the place of each token. The two exchanged undo a call.
    """
    batch, tokens, heads = x.shape[:3]
    images = torch.arange(batch, device=x.device)[:, None, None] * tokens

    def rows(places: Tensor) -> Tensor:
        return ((images + places.transpose(1, 2)) * heads + torch.arange(heads, device=x.device)).flatten()

    moved: Tensor = _Rearranged.apply(x.flatten(0, 2), rows(order), rows(inverse))
    return moved.view(x.shape)


def _halves(x: Float[Tensor, "R G L D"], runs: Runs) -> Int[Tensor, "R G L"]:
    """The order inside each run that puts its two halves one after the other."""
    starts, halves = runs.starts(x.device), Runs(runs.tokens, 2 * runs.count).starts(x.device)
    places = torch.arange(runs.longest, device=x.device) + starts[:, None]  # (G, L)
    ends = torch.cat([starts[1:], starts.new_full((1,), runs.tokens)])
    own = (places < ends[:, None]).to(x.dtype)
    first = (places < halves[1::2, None]).to(x.dtype)
    weights, unit = torch.stack([first, own - first], dim=-1), F.normalize(x, dim=-1)
    for _ in range(ROUNDS):
        weights = own[..., None] * (SHARPNESS * _similarity(x, unit, weights)).softmax(-1)
    near = _similarity(x, unit, weights) + 1
    ratio = near[..., 0] / near[..., 1].clamp(min=torch.finfo(x.dtype).eps)  # an opposite centroid would divide by 0
    return torch.where(own > 0, ratio.nan_to_num(), torch.inf).argsort(dim=-1, stable=True)


def _similarity(x: Tensor, unit: Float[Tensor, "R G L D"], weights: Tensor) -> Float[Tensor, "R G L 2"]:
    """Cosines between tokens and the two centroids that are sums of the tokens by ``weights``."""
    return unit @ F.normalize(x.mT @ weights, dim=-2)


def _backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, cluster_size: int, overlap: int, scale: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values, contiguous."""
    with torch._C._SetExcludeDispatchKeyGuard(_AUTOGRAD, False), torch.enable_grad():
        q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
        out = _clustered(q, k, v, cluster_size, overlap, scale, backend)
        of_q, of_k, of_v = torch.autograd.grad(out, (q, k, v), grad)
    return of_q.contiguous(), of_k.contiguous(), of_v.contiguous()


def _like_values(q: Tensor, k: Tensor, v: Tensor, *rule: Any) -> Tensor:
    return v.new_empty(v.shape)


def _like_inputs(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rule: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.rule = inputs[3:]


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_clustered_backward_op(grad, *ctx.saved_tensors, *ctx.rule), *(None for _ in ctx.rule))


def _flops(q_shape: torch.Size, k_shape: Any, v_shape: Any, *rule: Any, **kwargs: Any) -> int:
    """What the operators inside count, on shapes alone."""
    tokens = torch.empty(q_shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        _clustered(tokens, tokens, tokens, *rule)
    total: int = counter.get_total_flops()
    return total


def _backward_flops(grad_shape: Any, q_shape: torch.Size, *args: Any, **kwargs: Any) -> int:
    return 2 * _flops(q_shape, *args)


_AUTOGRAD = torch._C.DispatchKey.AutogradFunctionality
"""What a mode around an operator, as a counter of FLOPs, has switched off inside of it."""
_ARGUMENTS = "Tensor q, Tensor k, Tensor v, int cluster_size, int overlap, float scale, str backend"
_clustered_op = define("clustered_attention", f"({_ARGUMENTS}) -> Tensor", _clustered, _like_values)
_clustered_backward_op = define(
    "clustered_attention_backward", f"(Tensor grad, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)", _backward, _like_inputs
)
torch.library.register_autograd(f"{LIBRARY.ns}::clustered_attention", _gradients, setup_context=_keep, lib=LIBRARY)
register_flop_formula(_clustered_op.overloadpacket)(_flops)
register_flop_formula(_clustered_backward_op.overloadpacket)(_backward_flops)
