"""The operators on maps: their checked calls, what their backends take, and the forms in which they are called.

Legend: B batch, H W map, N heads, D head width of queries and keys, E head width of values.

Where ``geometry.decay`` is not 0, q and k have as many channels more, which ``decay.py`` explains.

A new backend is one file that defines a :class:`Backend` per op, and one line per op in ``backends/order.py``. The
functions of a backend of ``window_attention`` and ``neighborhood_attention`` take ``(q, k, v, bias, geometry, scale)``,
already checked: q, k ``(B, H, W, N, D)`` and v ``(B, H, W, N, E)`` of one floating type on one device, any strides;
bias ``(N, 2 * rows.size - 1, 2 * cols.size - 1)`` or None, of any floating type on the same device; ``geometry`` as in
``geometry.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import torch
from torch import Tensor

from visionattn.kernels.choice import own
from visionattn.kernels.dispatch import C, Candidate, Operator, Prepared
from visionattn.kernels.geometry import Geometry, certainly
from visionattn.kernels.recording import Recorded, RecordedMap

if TYPE_CHECKING:
    from jaxtyping import Float

AttentionFn = Callable[[Tensor, Tensor, Tensor, Tensor | None, Geometry, float], Tensor]
PackedFn = Callable[[Tensor, Tensor | None, Geometry, float], Tensor]
Backend = Candidate[[Tensor, Tensor, Tensor, Tensor | None, Geometry, float]]
P = ParamSpec("P")


@dataclass(frozen=True)
class Own:
    """Backends outside of the ordered lists, which ``backend=`` takes in place of a name: another softmax, for example.

    Attributes:
        name: for messages.
        maps: the backend of the operators on maps, or None.
        tokens: the backend of ``token_attention``, a :class:`visionattn.kernels.token_op.TokenBackend`, or None.
    """

    name: str
    maps: Backend | None = None
    tokens: Any = None


@dataclass(frozen=True)
class MapCall(Prepared[C]):
    """A checked call of an operator on a map.

    Attributes:
        q, k, v: queries, keys and values.
    """

    q: Tensor
    k: Tensor
    v: Tensor

    @abstractmethod
    def packed(self, qkv: Tensor) -> Self:
        """The same call with the one tensor (B, H, W, 3, N, D) of which q, k and v are views."""

    @abstractmethod
    def record(self, out: Tensor) -> Recorded:
        """What the analysis is told of the call."""


@dataclass(frozen=True)
class Call(MapCall[Backend]):
    """A checked call of ``window_attention`` or ``neighborhood_attention``: what every backend receives, in order.

    Attributes:
        backend: the name that was asked for, or "auto", or a backend of the caller's own.
        qkv: the one tensor of which q, k and v are views, where the caller has it. It comes last: torch 2.11 cannot
            trace a dataclass with a field that is given by name alone.
    """

    bias: Tensor | None
    geometry: Geometry
    scale: float
    backend: str | Own = "auto"
    qkv: Tensor | None = None

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Geometry, float]:
        return self.q, self.k, self.v, self.bias, self.geometry, self.scale

    def wanted(self, op: str) -> str | Backend:
        return self.backend if isinstance(self.backend, str) else own(op, self.backend.name, self.backend.maps)

    def packed(self, qkv: Tensor) -> Self:
        return self if self.geometry.decay else replace(self, qkv=qkv)  # places stand behind the channels of q and k

    def record(self, out: Tensor) -> RecordedMap:
        return RecordedMap(self.q, self.k, self.v, out, self.bias, self.geometry, self.scale)


M = TypeVar("M", bound=MapCall[Any])


class Op(Operator[Concatenate[Tensor, Tensor, Tensor, P], M]):
    """An attention op whose queries, keys and values lie on one map.

    :meth:`__call__`, :meth:`explain`, :meth:`probabilities` and ``prepare`` take ``(q, k, v, **options)``, and
    :meth:`packed` takes ``(qkv, **options)``.
    """

    def __call__(
        self,
        q: Float[Tensor, "B H W N D"],
        k: Float[Tensor, "B H W N D"],
        v: Float[Tensor, "B H W N E"],
        *args: P.args,
        **options: P.kwargs,
    ) -> Float[Tensor, "B H W N E"]:
        """The attention ``(B, H, W, N, E)``."""
        return self.dispatch(self.prepare(q, k, v, *args, **options))

    def packed(
        self, qkv: Float[Tensor, "B H W 3 N D"], *args: P.args, **options: P.kwargs
    ) -> Float[Tensor, "B H W N D"]:
        """The attention of queries, keys and values in one tensor ``(B, H, W, 3, N, D)``, as one projection gives them.

        Its gradient is one such tensor, written once, where the backend can: autograd has nothing to stack.
        """
        (qkv,) = autocast(qkv)
        q, k, v = unpack(self.name, qkv)
        return self.dispatch(self.prepare(q, k, v, *args, **options).packed(qkv))

    def probabilities(
        self, q: Float[Tensor, "B H W N D"], k: Float[Tensor, "B H W N D"], *args: P.args, **options: P.kwargs
    ) -> Float[Tensor, "B N H W H W"]:
        """The attention probabilities of every query over the whole map, ``(B, N, H, W, H, W)``, queries first.

        They are 0 for keys that a query does not see, and sum to 1. The result times the values is the op's output. It
        holds ``B * N * (H * W)**2`` numbers: see :mod:`visionattn.analysis` for maps that this is too much for.
        """
        height, width = q.shape[1:3]
        call = self.prepare(q, k, k, *args, **options).record(k)
        rows = call.rows(torch.arange(height * width, device=q.device))
        return rows.dense(height * width).unflatten(-1, (height, width)).unflatten(2, (height, width))


def attention_op(
    backends: Sequence[Candidate[...]],
) -> Callable[[Callable[Concatenate[Tensor, Tensor, Tensor, P], M]], Op[P, M]]:
    """A decorator: the :class:`Op` whose calls the decorated function prepares."""

    def decorate(prepare: Callable[Concatenate[Tensor, Tensor, Tensor, P], M]) -> Op[P, M]:
        return Op(prepare, backends)

    return decorate


def checked_call(
    name: str,
    maps: tuple[Tensor, Tensor, Tensor],
    geometry: Callable[[int, int], Geometry],
    bias: Tensor | None,
    scale: float | None,
    backend: str | Own,
) -> Call:
    """The call of op ``name`` after autocast and all checks; ``geometry`` takes the map's height and width."""
    q, k, v = autocast(*maps)
    check_tensors(name, q, k, v)
    chosen = geometry(q.shape[1], q.shape[2])
    if bias is not None:
        check_bias(name, q, bias, chosen)
    return Call(q, k, v, bias, chosen, q.shape[-1] ** -0.5 if scale is None else scale, backend)


def check_tensors(name: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Check that q, k and v are maps that fit together.

    Raises:
        ValueError: shapes or devices that do not.
        TypeError: types that do not.
    """
    for letter, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dim() != 5:
            raise ValueError(
                f"{name}: {letter} must have 5 dimensions (B, H, W, heads, D), got shape {tuple(tensor.shape)}"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{name}: {letter} must be floating point, got {tensor.dtype}")
    if q.shape != k.shape:
        raise ValueError(f"{name}: q and k must have the same shape, got {tuple(q.shape)} and {tuple(k.shape)}")
    if v.shape[:4] != q.shape[:4]:
        raise ValueError(f"{name}: v must agree with q in (B, H, W, heads), got {tuple(v.shape)} and {tuple(q.shape)}")
    if certainly(q.shape[-1] < 1) or certainly(v.shape[-1] < 1):
        raise ValueError(f"{name}: head widths must be at least 1, got {q.shape[-1]} and {v.shape[-1]}")
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(f"{name}: q, k and v must have one type, got {q.dtype}, {k.dtype}, {v.dtype}")
    if not q.device == k.device == v.device:
        raise ValueError(f"{name}: q, k and v must be on one device, got {q.device}, {k.device}, {v.device}")


def unpack(name: str, qkv: Tensor) -> tuple[Tensor, ...]:
    """q, k and v as views of ``(B, H, W, 3, N, D)``.

    Raises:
        ValueError: another shape.
    """
    if qkv.dim() != 6 or certainly(qkv.shape[3] != 3):
        raise ValueError(f"{name}: qkv must have the shape (B, H, W, 3, heads, D), got {tuple(qkv.shape)}")
    return qkv.unbind(3)


def check_bias(name: str, q: Tensor, bias: Tensor, geometry: Geometry) -> None:
    """Check that ``bias`` is the relative-position table of this geometry.

    Raises:
        ValueError: another shape or device.
        TypeError: not floating point.
    """
    expected = (q.shape[3], *geometry.table_shape)
    if bias.dim() != 3 or any(certainly(have != need) for have, need in zip(bias.shape, expected, strict=True)):
        raise ValueError(f"{name}: bias must be (heads, 2*rows-1, 2*columns-1) = {expected}, got {tuple(bias.shape)}")
    if not bias.is_floating_point():
        raise TypeError(f"{name}: bias must be floating point, got {bias.dtype}")
    if bias.device != q.device:
        raise ValueError(f"{name}: bias must be on the device of q, got {bias.device} and {q.device}")


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Under autocast, float32 maps in the autocast type, as torch does for its own attention; otherwise unchanged."""
    kind = tensors[0].device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):  # "available?" is a question torch 2.11 cannot compile
        return tensors
    target = torch.get_autocast_dtype(kind)
    return tuple(t.to(target) if t.dtype in (torch.float32, torch.float16, torch.bfloat16) else t for t in tensors)
