"""Gates of heads: factors on what each head of an attention gives, before the projection that joins the heads.

Shapes: B batch, H W map, C channels, N heads, D head width, S shared heads, R routed heads, M hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.mixer import MixerFactory, StageContext, declared
from visionattn.attention.padding import fit
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float

GateFactory = Callable[[int, int], nn.Module]
"""Called as ``factory(dim, num_heads)``; gives a module ``(B, H, W, C) -> (B, H, W, N)``."""


def gated(heads: Float[Tensor, "B H W N D"], context: StageContext | None) -> Float[Tensor, "B H W N D"]:
    """What the heads give, times the gates of the context, if it has any.

    Gates belong to the tokens of the map that came in; tokens with which a mixer enlarged it get 0.
    """
    if context is None or context.gates is None:
        return heads
    gates = fit(context.gates, (heads.shape[1], heads.shape[2]))
    return heads * gates.to(heads.dtype).unsqueeze(-1)


class GatedHeads:
    """Any attention whose heads are weighed by gates that a small module computes from the input of the mixer.

    The mixer keeps its parameters and their names, so that its published weights load; ``gate`` comes beside them.

    Args:
        mixer: factory of a mixer that declares ``gates_heads``.
        gate: factory of the gates, called with channels and heads: :class:`HeadRouter`, :class:`SigmoidGate`.
    """

    def __init__(self, mixer: MixerFactory, gate: GateFactory):
        self.mixer, self.gate = mixer, gate

    def __call__(self, dim: int, num_heads: int, index: int = 0) -> nn.Module:
        """Build the mixer with its gates.

        Raises:
            ValueError: the mixer has no heads that can be weighed, or has gates or carriers.
        """
        built: Any = self.mixer(dim=dim, num_heads=num_heads, index=index)
        name = type(built).__name__
        if not declared(built, "gates_heads"):
            raise ValueError(f"{name} has no heads that gates could weigh")
        if declared(built, "carriers"):
            raise ValueError(f"{name} has carriers, which attend outside of the map: their heads cannot be gated")
        if hasattr(built, "gate"):
            raise ValueError(f"{name} has gates already: a mixer takes one GatedHeads")
        built.gate = self.gate(dim, built.num_heads)
        built.register_forward_pre_hook(_with_gates, with_kwargs=True)
        return built


def _with_gates(mixer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hand the gates of the input to the mixer, in its context."""
    x, *given = args
    context = given[0] if given else kwargs.get("context")
    return (x, replace(context if context is not None else StageContext(), gates=mixer.gate(x))), {}


class HeadRouter(nn.Module):
    """Mixture of heads: some heads always work, and of the others each token takes those that suit it best.

    Jin et al. 2024, *MoH: Multi-Head Attention as Mixture-of-Head Attention*, arXiv 2410.11842.

    The first S heads are shared, weighed by a softmax over them times S. A softmax over the R others scores them for
    each token; the ``top_k`` highest are kept, brought to the sum 1 and multiplied by ``top_k``, and the rest gets 0.
    Two more weights of a softmax, times 2, balance the two groups. So the gates of heads that work are about 1, and
    trained attention keeps its scale. As in the published code all heads are computed: nothing is saved.

    In training the module has an auxiliary loss, ``R**2 * mean(score * share of tokens)`` over the routed heads, which
    asks for an even load; the mean over all such modules is added to the loss of any task.

    Args:
        dim: channels C.
        num_heads: heads N.
        shared: shared heads S: a number, or a share of the heads below 1, rounded up; None: all heads are shared.
        top_k: routed heads that a token takes: a number, or a share of all heads below 1, rounded up and not more than
            there are. 0 where all heads are shared.
        balance: weight of the auxiliary loss.

    Raises:
        ValueError: shared and taken heads that do not fit the number of heads.

    Shape:
        ``(B, H, W, C) -> (B, H, W, N)``
    """

    starts_fresh = averaged_loss = True

    def __init__(
        self, dim: int, num_heads: int, *, shared: float | None = 0.25, top_k: float = 0.5, balance: float = 0.01
    ):
        super().__init__()
        shared = num_heads if shared is None else shared
        if min(shared, top_k, balance) < 0:
            raise ValueError(f"shared, top_k and balance are not negative, got {shared}, {top_k} and {balance}")
        self.shared = _count(shared, num_heads)
        self.routed = num_heads - self.shared
        wanted = _count(top_k, num_heads)
        self.top_k = min(wanted, self.routed) if 0 < top_k < 1 else wanted
        if self.routed < 0 or self.top_k > self.routed or (self.routed > 0 and not self.top_k):
            raise ValueError(
                f"{num_heads} heads of which {self.shared} are shared leave {self.routed} to take from, "
                f"and a token is to take {self.top_k}"
            )
        self.balance = balance
        self.score = Linear(dim, self.routed, bias=False) if self.routed else None
        self.weigh_shared = Linear(dim, self.shared, bias=False) if self.shared > 1 else None
        self.weigh_groups = Linear(dim, 2, bias=False) if self.shared and self.routed else None
        self._loss: Tensor | None = None

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W N"]:
        shared, routed = self._shared(x), self._routed(x)
        if self.weigh_groups is not None:
            balance = 2 * self.weigh_groups(x).softmax(-1)
            shared, routed = shared * balance[..., :1], routed * balance[..., 1:]
        return torch.cat([shared, routed], dim=-1)

    def auxiliary_loss(self) -> Tensor | None:
        """The weighted loss of the latest pass in training, once; see :mod:`visionattn.training.auxiliary`."""
        loss, self._loss = self._loss, None
        return loss

    def _shared(self, x: Tensor) -> Tensor:
        if self.weigh_shared is None:
            return x.new_ones(*x.shape[:-1], self.shared)
        return self.shared * self.weigh_shared(x).softmax(-1)

    def _routed(self, x: Tensor) -> Tensor:
        if self.score is None:
            return x.new_ones(*x.shape[:-1], 0)
        scores = self.score(x).softmax(-1)
        taken = torch.zeros_like(scores).scatter(-1, scores.topk(self.top_k, dim=-1).indices, 1.0)
        if self.training:
            load = scores.flatten(0, -2).mean(0) * taken.flatten(0, -2).mean(0)
            self._loss = self.balance * self.routed**2 * load.mean()
        kept = scores * taken
        return self.top_k * kept / kept.sum(-1, keepdim=True).clamp(min=torch.finfo(kept.dtype).eps)

    def extra_repr(self) -> str:
        return f"shared={self.shared}, routed={self.routed}, top_k={self.top_k}"


def _count(given: float, num_heads: int) -> int:
    return math.ceil(given * num_heads) if 0 < given < 1 else int(given)


class SigmoidGate(nn.Module):
    """A sigmoid of a small predictor for each head, so that a head can say nothing.

    Bondarenko et al. 2023, *Quantizable Transformers: Removing Outliers by Helping Attention Heads Do Nothing*, arXiv
    2306.12929.

    The predictor reads the input of the mixer, before any projection. The published code, of language models, draws its
    weights as torch draws those of linear layers; here they start from a truncated normal of deviation 0.02.

    Args:
        dim: channels C.
        num_heads: heads N.
        predictor: ``slice`` is one linear layer for each head on its own D = C / N channels, ``mlp`` has a hidden layer
            of D / 4 units with ReLU there, ``all`` is one linear layer on all channels, and ``none`` is a number per
            head that depends on nothing.
        per_token: a gate for each token; False: one for all tokens of an image, from the mean of what is predicted.
        start: the gate at the beginning of training, between 0 and 1.
        rescale: divide by ``start``, so that trained attention begins with the scale it had.

    Raises:
        ValueError: no such predictor, ``start`` outside (0, 1), or channels that heads do not divide.

    Shape:
        ``(B, H, W, C) -> (B, H, W, N)``
    """

    starts_fresh = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        predictor: Literal["slice", "mlp", "all", "none"] = "slice",
        per_token: bool = True,
        start: float = 0.5,
        rescale: bool = False,
    ):
        super().__init__()
        widths = {"slice": (dim // num_heads,), "mlp": (dim // num_heads, max(dim // num_heads // 4, 1))}
        widths |= {"all": (dim,), "none": ()}
        if predictor not in widths or not 0 < start < 1:
            raise ValueError(
                f"predictor is one of {', '.join(widths)} and start between 0 and 1, got {predictor} and {start}"
            )
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads, self.per_token, self.whole = num_heads, per_token, predictor == "all"
        self.factor = 1 / start if rescale else 1.0
        first, *last = widths[predictor] or (0,)
        self.hidden = _PerHead(num_heads, first, last[0]) if last else None
        self.weight = _drawn(num_heads, *(last or [first])) if first else None
        self.bias = nn.Parameter(torch.full((num_heads,), math.log(start / (1 - start))))

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W N"]:
        logits = self._logits(x)
        if not self.per_token:
            logits = logits.mean((1, 2), keepdim=True)
        return self.factor * logits.sigmoid().expand(*x.shape[:3], -1)

    def _logits(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return self.bias.expand(*x.shape[:3], -1)
        if self.whole:
            return F.linear(x, self.weight, self.bias)
        parts = x.unflatten(-1, (self.num_heads, -1))
        if self.hidden is not None:
            parts = F.relu(self.hidden(parts))
        return (parts * self.weight).sum(-1) + self.bias

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}, per_token={self.per_token}"


class _PerHead(nn.Module):
    """A linear layer for each head: ``(B, H, W, N, D) -> (B, H, W, N, M)``."""

    def __init__(self, num_heads: int, width: int, hidden: int):
        super().__init__()
        self.weight, self.bias = _drawn(num_heads, width, hidden), nn.Parameter(torch.zeros(num_heads, hidden))

    def forward(self, x: Float[Tensor, "B H W N D"]) -> Float[Tensor, "B H W N M"]:
        return torch.einsum("bhwnd,ndm->bhwnm", x, self.weight) + self.bias


def _drawn(*shape: int) -> nn.Parameter:
    weight = nn.Parameter(torch.empty(*shape))
    nn.init.trunc_normal_(weight, std=0.02)
    return weight
