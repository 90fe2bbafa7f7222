"""``token_attention``: a map against few tokens, or the reverse, with a trainable bias for each pair.

Shapes: B batch, T queries, S keys, N heads, D and E head widths; any T and S. Every query sees every key. Cost:
``2 * (D + E) * S`` floating-point operations per query and head; where one of T and S is small, linear in the other.

``bias``: added to the logits, one number for each head, query and key, the same for every image. It may have its own
floating type. Its gradient is exact and deterministic.

``places``: how queries and keys lie, for :mod:`visionattn.analysis`. A call that does not say it is not recorded; what
a chain of calls computed is reported by the mixer, as :class:`RecordedRelay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from visionattn.kernels.backends.order import TOKENS
from visionattn.kernels.choice import own
from visionattn.kernels.dispatch import Prepared, operator
from visionattn.kernels.op import Own, autocast
from visionattn.kernels.probabilities import Probabilities
from visionattn.kernels.recording import Groups, Recorded, RecordedTokens, Size
from visionattn.kernels.token_op import TokenBackend, check_tokens, dense_logits

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Places", "RecordedRelay", "TokenCall", "token_attention"]


@dataclass(frozen=True)
class Places:
    """How the tokens of a call lie.

    Attributes:
        queries: rows and columns of the map of queries.
        keys: the same of keys.
        groups: how tokens lie, where they are those of windows with tokens in front.
        cell: tokens along each side of the square that one key stands for.
        table: what the bias was made of.
    """

    queries: Size
    keys: Size
    groups: Groups | None = None
    cell: int = 1
    table: Tensor | None = None


@dataclass(frozen=True)
class TokenCall(Prepared[TokenBackend]):
    """A checked call of ``token_attention``: what every backend receives, the choice of it, and how the tokens lie."""

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor | None
    scale: float
    backend: str | Own
    places: Places | None

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None, float]:
        return self.q, self.k, self.v, self.bias, self.scale

    def wanted(self, op: str) -> str | TokenBackend:
        return self.backend if isinstance(self.backend, str) else own(op, self.backend.name, self.backend.tokens)

    def record(self, out: Tensor) -> RecordedTokens | None:
        if (at := self.places) is None:
            return None
        grids = at.queries, at.keys
        return RecordedTokens(self.q, self.k, self.v, out, at.table, self.bias, self.scale, grids, at.groups, at.cell)


@operator(TOKENS)
def token_attention(
    q: Float[Tensor, "B T N D"],
    k: Float[Tensor, "B S N D"],
    v: Float[Tensor, "B S N E"],
    *,
    bias: Float[Tensor, "N T S"] | None = None,
    scale: float | None = None,
    backend: str | Own = "auto",
    places: Places | None = None,
) -> TokenCall:
    """Attention of queries to keys that lie on no common map.

    Agent attention (Han et al. 2023, arXiv 2312.08874) is two such calls. The module's docstring has the details.

    Args:
        q: queries ``(B, T, N, D)``.
        k: keys ``(B, S, N, D)``.
        v: values ``(B, S, N, E)``.
        bias: ``(N, T, S)``, added to the logits.
        scale: of the logits before the bias; None: ``D ** -0.5``.
        backend: "auto", a name, or one of the caller's own: it runs or says why not, as ``explain`` does of all.
        places: how queries and keys lie; None: the call is not recorded.

    Returns:
        The attended tokens, ``(B, T, N, E)``.

    Raises:
        ValueError: shapes that do not fit together, with the numbers.
        TypeError: types that do not.
    """
    q, k, v = autocast(q, k, v)
    check_tokens(q, k, v, bias)
    return TokenCall(q, k, v, bias, q.shape[3] ** -0.5 if scale is None else scale, backend, places)


@dataclass(frozen=True)
class RecordedRelay(Recorded):
    """Two calls of :func:`token_attention` in a row: tokens of a map attend to few, and those to the map's tokens.

    The probabilities are the product of both matrices, so that a query's sum to 1 and the values' mean is the output.

    Attributes:
        q, k, v, out: ``(B, H * W, N, _)``.
        agents: the few tokens ``(B, A, N, D)``, queries of one call and keys of the other.
        gather: bias ``(N, A, H * W)`` of the agents' attention to the map, or None.
        spread: bias ``(N, H * W, A)`` of the map's attention to the agents, or None.
        scale: of the logits before the biases.
        grid: rows and columns of the map.
    """

    agents: Tensor
    gather: Tensor | None
    spread: Tensor | None
    scale: float
    grid: Size
    head_axis: ClassVar[int] = 2

    @property
    def query_grid(self) -> Size:
        return self.grid

    @property
    def key_grid(self) -> Size:
        return self.grid

    @property
    def num_heads(self) -> int:
        return self.q.shape[2]

    @property
    def num_queries(self) -> int:
        return self.q.shape[1]

    @property
    def num_keys(self) -> int:
        return self.k.shape[1]

    def keys_each(self) -> int:
        return self.num_keys

    def rows(self, queries: Tensor) -> Probabilities:
        spread = None if self.spread is None else self.spread[:, queries]
        to_agents = dense_logits(self.q[:, queries], self.agents, spread, self.scale).softmax(-1)
        weights = to_agents @ dense_logits(self.agents, self.k, self.gather, self.scale).softmax(-1)
        keys = torch.arange(self.num_keys, device=queries.device).expand(len(queries), -1)
        return Probabilities(queries, keys, weights)

    def gradient(self, rows: Probabilities, grad: Tensor) -> Tensor:
        return torch.einsum("bqne,bsne->bnqs", grad[:, rows.queries], self.v)


def for_tokens(backend: str | Own) -> str | Own:
    """The backend of a mixer that also uses operators on maps: "auto" where ``token_attention`` has none so named."""
    known = isinstance(backend, Own) or backend in [candidate.name for candidate in token_attention.backends]
    return backend if known else "auto"
