"""``routed_attention``: every region of a map attends to the regions that a list names for it.

A map lies in regions of ``region`` rows and columns, numbered row by row from the upper left corner; the border of the
map cuts the last ones, and a map smaller than a region is one. All queries of region r of image b see all keys of the
regions ``routes[b, r]``, in every head. Keys and values are read in place; the published code of BiFormer (Zhu et al.
2023, arXiv 2303.08810) holds a copy of them for each list that names them.

An entry of -1 lists nothing, a region listed twice counts twice, and queries for which nothing is listed get zeros.
Entries below -1 or beyond the last region are an error on the CPU; on other devices they list nothing, because looking
at them would make the program wait for the device.

Cost: ``2 * (D + E) * K * T`` floating-point operations per query and head, with K listed regions of T tokens. Gradients
are exact and deterministic; the routes have none.

Shapes: B batch, H W map, N heads, D and E head widths, R regions, K listed regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from visionattn.kernels.backends.order import ROUTED
from visionattn.kernels.backends.reference import routed_weights
from visionattn.kernels.choice import own
from visionattn.kernels.geometry import as_pair
from visionattn.kernels.op import MapCall, Own, attention_op, autocast
from visionattn.kernels.probabilities import Probabilities
from visionattn.kernels.recording import RecordedOnMap
from visionattn.kernels.routed_op import Region, RoutedBackend, check_routed

if TYPE_CHECKING:
    from jaxtyping import Float, Int

__all__ = ["RecordedRoutes", "RoutedCall", "routed_attention"]


@dataclass(frozen=True)
class RecordedRoutes(RecordedOnMap):
    """A call of ``routed_attention``."""

    routes: Tensor
    region: Region
    scale: float

    def keys_each(self) -> int:
        return self.num_keys  # other keys in every image: all places are held, most with a weight of 0

    def rows(self, queries: Tensor) -> Probabilities:
        weights = routed_weights(self.q, self.k, self.routes, self.region, self.scale, queries)
        keys = torch.arange(self.num_keys, device=queries.device).expand(len(queries), -1)
        return Probabilities(queries, keys, weights)

    def gradient(self, rows: Probabilities, grad: Tensor) -> Tensor:
        return torch.einsum("bqne,bsne->bnqs", grad.flatten(1, 2)[:, rows.queries], self.v.flatten(1, 2))


@dataclass(frozen=True)
class RoutedCall(MapCall[RoutedBackend]):
    """A checked call of ``routed_attention``: what every backend receives, and the choice of it."""

    routes: Tensor
    region: Region
    scale: float
    backend: str | Own = "auto"
    qkv: Tensor | None = None

    def packed(self, qkv: Tensor) -> Self:
        return replace(self, qkv=qkv)

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Region, float]:
        return self.q, self.k, self.v, self.routes, self.region, self.scale

    def wanted(self, op: str) -> str | RoutedBackend:
        return self.backend if isinstance(self.backend, str) else own(op, self.backend.name, None)

    def record(self, out: Tensor) -> RecordedRoutes:
        return RecordedRoutes(self.q, self.k, self.v, out, None, self.routes, self.region, self.scale)


@attention_op(ROUTED)
def routed_attention(
    q: Float[Tensor, "B H W N D"],
    k: Float[Tensor, "B H W N D"],
    v: Float[Tensor, "B H W N E"],
    routes: Int[Tensor, "B R K"],
    *,
    region: int | Sequence[int],
    scale: float | None = None,
    backend: str | Own = "auto",
) -> RoutedCall:
    """Attention of the regions of a map to listed regions.

    Bi-level routing attention (Zhu et al. 2023, arXiv 2303.08810) lists those whose mean keys suit the mean query best.
    The module's docstring has the details.

    Args:
        q: queries ``(B, H, W, N, D)``.
        k: keys ``(B, H, W, N, D)``.
        v: values ``(B, H, W, N, E)``.
        routes: of each image and region the numbers of the regions it attends to, int64 ``(B, R, K)``; -1: none.
        region: rows and columns of a region, or one number for both.
        scale: of the logits; None: ``D ** -0.5``.
        backend: "auto" or a name: it runs or raises its reason; ``explain`` lists those of all. A caller's own backends
            have none for this operator, which is an error.

    Returns:
        The attended map, ``(B, H, W, N, E)``.

    Raises:
        ValueError: shapes or numbers that do not fit together, with the numbers.
        TypeError: types that do not.
    """
    q, k, v = autocast(q, k, v)
    side = as_pair("region", region)
    check_routed(q, k, v, routes, side)
    return RoutedCall(q, k, v, routes, side, q.shape[4] ** -0.5 if scale is None else scale, backend)
