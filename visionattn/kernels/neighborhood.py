"""`neighborhood_attention`: dilated and strided neighborhoods with an optional relative-position bias."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from visionattn.kernels.backends.order import NEIGHBORHOOD
from visionattn.kernels.geometry import Pair, neighborhood_geometry
from visionattn.kernels.op import Call, Op, autocast, check_bias, check_tensors, unpack


class NeighborhoodAttention(Op):
    """Every query attends to its kernel_size nearest keys: NAT (Hassani et al., 2022, arXiv 2204.07143), DiNAT
    (Hassani and Shi, 2022, arXiv 2209.15001), Generalized Neighborhood Attention (Hassani et al., 2025, arXiv
    2504.16922), not causal.

    q, k `(B, H, W, N, D)`, v `(B, H, W, N, E)`, result `(B, H, W, N, E)`; B batch, H W map, N heads, D and E head
    widths.
    kernel_size  rows and columns, at least 2, odd or even (an even one has one more key on the left), kernel_size *
                 dilation <= map. Every query has exactly rows * columns keys: at the border the neighborhood moves
                 inward.
    dilation     keys are taken from the query's dilation group (positions equal modulo the dilation); it need not
                 divide the map.
    stride       queries share the neighborhood of the leader of each run of `stride` queries; the output keeps its
                 size. 1 <= stride <= kernel_size; stride == kernel_size is a partition into blocks.
    bias         relative-position table `(N, 2 * rows - 1, 2 * columns - 1)`, added to the logits at the index key
                 minus query plus kernel_size minus 1, in coordinates inside the dilation group; defined for every
                 stride. NATTEN dropped it in 0.20; here it trains. May have its own floating type; its gradient is
                 exact and deterministic.
    scale        of the logits before the bias, D ** -0.5 if None.
    backend      "auto", or a name: it runs or raises its reason. `explain` lists the reasons.

    Cost: 2 * (D + E) * rows * columns floating-point operations per query and head.
    Raises ValueError or TypeError, with the numbers, for shapes and arguments that do not fit together.
    """

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        kernel_size: Pair,
        dilation: Pair = 1,
        stride: Pair = 1,
        bias: Tensor | None = None,
        scale: float | None = None,
        backend: str = "auto",
    ) -> Tensor:
        return self.dispatch(self.call(q, k, v, kernel_size, dilation, stride, bias, scale), backend)

    def packed(
        self,
        qkv: Tensor,
        *,
        kernel_size: Pair,
        dilation: Pair = 1,
        stride: Pair = 1,
        bias: Tensor | None = None,
        scale: float | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """The same for queries, keys and values in one tensor `(B, H, W, 3, N, D)`, as one projection gives them. Its
        gradient is one such tensor, written once, where the backend can: autograd has nothing to stack."""
        (qkv,) = autocast(qkv)
        q, k, v = unpack(self.name, qkv)
        call = self.call(q, k, v, kernel_size, dilation, stride, bias, scale)
        return self.dispatch(replace(call, qkv=qkv), backend)

    def explain(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        kernel_size: Pair,
        dilation: Pair = 1,
        stride: Pair = 1,
        bias: Tensor | None = None,
        scale: float | None = None,
    ) -> dict[str, str]:
        """Backend name -> why it refuses this call ("" if it would run), in the order in which "auto" asks."""
        return self.reasons(self.call(q, k, v, kernel_size, dilation, stride, bias, scale))

    def call(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        kernel_size: Pair,
        dilation: Pair,
        stride: Pair,
        bias: Tensor | None,
        scale: float | None,
    ) -> Call:
        """The checked call, after autocast."""
        q, k, v = autocast(q, k, v)
        check_tensors(self.name, q, k, v)
        geometry = neighborhood_geometry(q.shape[1], q.shape[2], kernel_size, dilation, stride)
        if bias is not None:
            check_bias(self.name, q, bias, geometry)
        return Call(q, k, v, bias, geometry, q.shape[-1] ** -0.5 if scale is None else scale)


neighborhood_attention = NeighborhoodAttention("neighborhood_attention", NEIGHBORHOOD)
