"""What attention computed, kept while somebody looks: queries, keys, values and output of every call.

Nothing is copied and no result changes. Outside of :func:`recorded` a call asks one question, and a compiled or traced
call none.

Shapes: B batch, H W map, h w map of keys, N heads, D E head widths, Q queries, S places of keys, T tokens of a group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from visionattn.kernels.geometry import Geometry
from visionattn.kernels.probabilities import Probabilities, in_parts, keys_of, probabilities

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Size = tuple[int, int]


@dataclass(frozen=True)
class Recorded(ABC):
    """One call of attention.

    Attributes:
        q, k, v: what went in.
        out: what came out, with its place in autograd's graph; of the shape of q, as wide as v.
        table: the relative-position bias ``(N, 2 * rows - 1, 2 * columns - 1)``, or None.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    table: Tensor | None

    head_axis: ClassVar[int]
    """The axis of ``out`` that counts the heads."""

    @property
    @abstractmethod
    def query_grid(self) -> Size:
        """Rows and columns of the map that the first places of queries form."""

    @property
    @abstractmethod
    def key_grid(self) -> Size:
        """The same of keys."""

    @property
    @abstractmethod
    def num_heads(self) -> int:
        """Heads N."""

    @property
    @abstractmethod
    def num_queries(self) -> int:
        """Places of queries, those that lie on no map included."""

    @property
    @abstractmethod
    def num_keys(self) -> int:
        """Places of keys, those that lie on no map included."""

    @abstractmethod
    def keys_each(self) -> int:
        """Keys that a query sees, at most."""

    @abstractmethod
    def rows(self, queries: Int[Tensor, " Q"]) -> Probabilities:
        """The probabilities of chosen queries."""

    @abstractmethod
    def gradient(self, rows: Probabilities, grad: Tensor) -> Float[Tensor, "B N Q K"]:
        """The gradient with respect to the probabilities ``rows``; ``grad`` is that with respect to ``out``."""

    def parts(self) -> Iterator[Int[Tensor, " Q"]]:
        """All queries, in parts whose probabilities fit into memory."""
        numbers = self.q.shape[0] * self.keys_each() * self.num_heads * max(self.q.shape[-1], self.v.shape[-1])
        yield from in_parts(torch.arange(self.num_queries, device=self.q.device), numbers)


@dataclass(frozen=True)
class RecordedOnMap(Recorded):
    """A call whose q, k, v and out are maps ``(B, H, W, N, _)`` of one size."""

    head_axis: ClassVar[int] = 3

    @property
    def query_grid(self) -> Size:
        return self.q.shape[1], self.q.shape[2]

    @property
    def key_grid(self) -> Size:
        return self.query_grid

    @property
    def num_heads(self) -> int:
        return self.q.shape[3]

    @property
    def num_queries(self) -> int:
        return self.q.shape[1] * self.q.shape[2]

    @property
    def num_keys(self) -> int:
        return self.num_queries


@dataclass(frozen=True)
class RecordedMap(RecordedOnMap):
    """A call of ``window_attention`` or ``neighborhood_attention``."""

    geometry: Geometry
    scale: float

    def keys_each(self) -> int:
        return keys_of(self.geometry, *self.query_grid)

    def rows(self, queries: Tensor) -> Probabilities:
        return probabilities(self.q, self.k, self.table, self.geometry, self.scale, queries)

    def gradient(self, rows: Probabilities, grad: Tensor) -> Tensor:
        values = self.v.flatten(1, 2)[:, rows.keys.clamp(min=0)]
        return torch.einsum("bqne,bqkne->bnqk", grad.flatten(1, 2)[:, rows.queries], values)


@dataclass(frozen=True)
class Groups:
    """Windows with further tokens in front, such as carriers: how the tokens of each group lie.

    Places count the tokens of the map first, row by row, then the tokens in front, row by row of a map of their own.

    Attributes:
        rows: rows of windows.
        columns: columns of windows.
        side: tokens along each side of a window.
        front: tokens in front along each side.
    """

    rows: int
    columns: int
    side: int
    front: int

    @property
    def grid(self) -> Size:
        """Size of the map."""
        return self.rows * self.side, self.columns * self.side

    @property
    def front_grid(self) -> Size:
        """Size of the map of all tokens in front."""
        return self.rows * self.front, self.columns * self.front

    def places(self) -> Int[Tensor, "G T"]:
        """The place of each token of each group."""
        first = self.grid[0] * self.grid[1]
        front = first + torch.arange(self.front_grid[0] * self.front_grid[1]).view(self.front_grid)
        window = torch.arange(first).view(self.grid)
        return torch.cat([self._cells(front, self.front), self._cells(window, self.side)], dim=1)

    def _cells(self, grid: Tensor, side: int) -> Tensor:
        return grid.view(self.rows, side, self.columns, side).transpose(1, 2).reshape(self.rows * self.columns, -1)


@dataclass(frozen=True)
class RecordedTokens(Recorded):
    """A call of ``token_attention``; ``Places`` names the fields. q, k, v and out are ``(B * groups, T, N, _)``."""

    bias: Tensor | None
    scale: float
    grids: tuple[Size, Size]
    groups: Groups | None
    cell: int
    head_axis: ClassVar[int] = 2

    @property
    def query_grid(self) -> Size:
        return self.grids[0]

    @property
    def key_grid(self) -> Size:
        return self.grids[1]

    @property
    def num_heads(self) -> int:
        return self.q.shape[2]

    @property
    def num_queries(self) -> int:
        return self.q.shape[1] * self._count

    @property
    def num_keys(self) -> int:
        return self.k.shape[1] * self._count

    @property
    def _count(self) -> int:
        return 1 if self.groups is None else self.groups.rows * self.groups.columns

    def keys_each(self) -> int:
        return self.k.shape[1]

    def rows(self, queries: Tensor) -> Probabilities:
        group, inside, places = self._find(queries)
        q, k = self._split(self.q)[:, group, inside], self._split(self.k)[:, group]
        logits = torch.einsum("bqnd,bqknd->bnqk", q * self.scale, k)
        if self.bias is not None:
            logits = logits + self.bias.to(logits.dtype)[:, inside]
        return Probabilities(queries, places[group], logits.softmax(-1))

    def gradient(self, rows: Probabilities, grad: Tensor) -> Tensor:
        group, inside, _ = self._find(rows.queries)
        return torch.einsum("bqne,bqkne->bnqk", self._split(grad)[:, group, inside], self._split(self.v)[:, group])

    def at_places(self, x: Float[Tensor, "G T N E"]) -> Float[Tensor, "B S N E"]:
        """Tokens of all groups in the order of their places."""
        tokens = self._split(x).flatten(1, 2)
        return tokens if self.groups is None else tokens[:, self.groups.places().flatten().argsort()]

    def _split(self, x: Tensor) -> Tensor:
        """``(B * groups, T, N, _) -> (B, groups, T, N, _)``."""
        return x.unflatten(0, (-1, self._count))

    def _find(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Group and position in it of each query, and the places of the keys of each group."""
        if self.groups is None:
            return torch.zeros_like(queries), queries, torch.arange(self.num_keys, device=queries.device)[None]
        places = self.groups.places().to(queries.device)
        at = places.flatten().argsort()[queries]
        return at // places.shape[1], at % places.shape[1], places


@dataclass(frozen=True)
class RecordedChannels:
    """A call of attention among channels: ``matrix`` ``(B, N, D, D)`` holds its probabilities, queries first."""

    matrix: Tensor
    out: Tensor


AnyRecorded = Recorded | RecordedChannels
_SINK: ContextVar[Callable[[AnyRecorded], None] | None] = ContextVar("visionattn_recording", default=None)


@contextmanager
def recorded(sink: Callable[[AnyRecorded], None]) -> Iterator[None]:
    """A context in which every call of attention is handed to ``sink``, in the order of the calls."""
    token = _SINK.set(sink)
    try:
        yield
    finally:
        _SINK.reset(token)


def report(build: Callable[[], AnyRecorded | None]) -> None:
    """Hand a call over, if somebody looks; ``build`` is called only then, and may say that there is nothing to see."""
    if not torch.compiler.is_compiling() and (sink := _SINK.get()) is not None and (call := build()) is not None:
        sink(call)
