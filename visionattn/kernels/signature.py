"""What a call of a kernel depends on beside the numbers in its tensors, and what a backend builds for it once.

Legend: B batch, H W map, N heads, D head width of queries and keys, E head width of values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from visionattn.kernels.geometry import Geometry

Maps = Sequence[Tensor]
ForwardRun = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
BackwardRun = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor, Tensor, Maps], Tensor]
Built = TypeVar("Built")
MOST_KEPT = 4096


class Layout(NamedTuple):
    """Shape and strides of a tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        """The layout of ``tensor``."""
        return cls(tuple(tensor.shape), tensor.stride())


@dataclass(frozen=True)
class Signature:
    """A call without the numbers in its tensors; hashable.

    Attributes:
        q: layout of the queries ``(B, H, W, N, D)``, channels side by side; the same for ``k``.
        k: layout of the keys.
        v: layout of the values ``(B, H, W, N, E)``, channels side by side.
        dtype: type of the maps.
        device: of all tensors.
        bias: type of the bias table, which is contiguous, or None.
        geometry: which keys a query sees.
        scale: of the logits before the bias.
    """

    q: Layout
    k: Layout
    v: Layout
    dtype: torch.dtype
    device: torch.device
    bias: torch.dtype | None
    geometry: Geometry
    scale: float


class Wanted(NamedTuple):
    """What a backward is to compute.

    Attributes:
        gradients: layouts of the gradients of q, k and v, channels side by side; those of q and k have equal strides.
        maps: whether they are wanted; if not, they need not be written.
        table: whether the gradient of the bias table is wanted.
    """

    gradients: tuple[Layout, ...]
    maps: bool
    table: bool


@dataclass(frozen=True)
class Kernel:
    """A backend's functions. Forward and backward are built once per signature, and then run.

    Attributes:
        forward: builds ``(q, k, v, bias) -> (out (B, H, W, N, E), stats)``, both contiguous.
        backward: builds ``(grad, q, k, v, bias, out, stats, into) -> table``. ``grad``, ``out`` and ``stats`` are
            contiguous. It writes the gradients of q, k and v into the three maps ``into``. It returns that of the bias
            table, contiguous and of the bias's type, or an empty tensor where it is not wanted.
        stats_shape: of q, the shape of ``stats``, what forward leaves to backward beside the output; its type is
            ``stats_dtype(q.dtype)``.
    """

    forward: Callable[[Signature], ForwardRun]
    backward: Callable[[Signature, Wanted], BackwardRun]
    stats_shape: Callable[[Tensor], Sequence[int]]


class Kept(dict[tuple[object, ...], Built], Generic[Built]):
    """What was built, by what it depends on. Never holds a tensor; emptied when it grows too large."""

    def __init__(self) -> None:
        super().__init__()
        ALL_KEPT.append(self)

    def keep(self, key: tuple[object, ...], built: Built) -> Built:
        """Keep ``built``, and return it."""
        if len(self) >= MOST_KEPT:
            self.clear()
        self[key] = built
        return built


ALL_KEPT: list[Kept[Any]] = []


def forget() -> None:
    """Build everything anew, as after a change of what it was built from."""
    for kept in ALL_KEPT:
        kept.clear()


def stats_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which sums are kept: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def no_stats(q: Tensor) -> Sequence[int]:
    """The ``stats_shape`` of a kernel whose backward needs nothing but the inputs and the output."""
    return (0,)
