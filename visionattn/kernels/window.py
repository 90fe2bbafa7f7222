"""`window_attention`: windows, shifted windows, strips and grids, one function."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from visionattn.kernels.backends.order import WINDOW
from visionattn.kernels.geometry import Pair, window_geometry
from visionattn.kernels.op import Call, Op, autocast, check_bias, check_tensors, unpack


class WindowAttention(Op):
    """Attention inside the windows of a partition: Swin (Liu et al., 2021, arXiv 2103.14030), CSWin's strips (Dong et
    al., 2021, arXiv 2107.00652), MaxViT's blocks and grids (Tu et al., 2022, arXiv 2204.01697).

    q, k `(B, H, W, N, D)`, v `(B, H, W, N, E)`, result `(B, H, W, N, E)`; B batch, H W map, N heads, D and E head
    widths; any H and W.
    window    rows and columns of a window, in tokens. `(H, s)` or `(s, W)` are strips. It may exceed the map, which
              then cuts it.
    shift     where the partition's first line stands, 0 <= shift < window. Swin's cyclic shift by 3 with its mask is
              `shift=3`: the first window has the rows 0..2, the next 3..9. Windows are cut at the border, so no token
              sees across it and nothing is padded (timm and the official detection code pad instead, and let the
              padding be seen).
    dilation  the partition happens inside each dilation group (positions equal modulo the dilation). `(H // g, W //
              g)` is MaxViT's g x g grid where g divides the map.
    bias      relative-position table `(N, 2 * rows - 1, 2 * columns - 1)`, added to the logits at the index key minus
              query plus window minus 1, in coordinates inside the dilation group. May have its own floating type; its
              gradient is exact and deterministic.
    scale     of the logits before the bias, D ** -0.5 if None.
    backend   "auto", or a name: it runs or raises its reason. `explain` lists the reasons.

    Cost: 2 * (D + E) * (keys per query) floating-point operations per query and head.
    Raises ValueError or TypeError, with the numbers, for shapes and arguments that do not fit together.
    """

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        window: Pair,
        shift: Pair = (0, 0),
        dilation: Pair = (1, 1),
        bias: Tensor | None = None,
        scale: float | None = None,
        backend: str = "auto",
    ) -> Tensor:
        return self.dispatch(self.call(q, k, v, window, shift, dilation, bias, scale), backend)

    def packed(
        self,
        qkv: Tensor,
        *,
        window: Pair,
        shift: Pair = (0, 0),
        dilation: Pair = (1, 1),
        bias: Tensor | None = None,
        scale: float | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """The same for queries, keys and values in one tensor `(B, H, W, 3, N, D)`, as one projection gives them. Its
        gradient is one such tensor, written once, where the backend can: autograd has nothing to stack."""
        (qkv,) = autocast(qkv)
        q, k, v = unpack(self.name, qkv)
        call = self.call(q, k, v, window, shift, dilation, bias, scale)
        return self.dispatch(replace(call, qkv=qkv), backend)

    def explain(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        window: Pair,
        shift: Pair = (0, 0),
        dilation: Pair = (1, 1),
        bias: Tensor | None = None,
        scale: float | None = None,
    ) -> dict[str, str]:
        """Backend name -> why it refuses this call ("" if it would run), in the order in which "auto" asks."""
        return self.reasons(self.call(q, k, v, window, shift, dilation, bias, scale))

    def call(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        window: Pair,
        shift: Pair,
        dilation: Pair,
        bias: Tensor | None,
        scale: float | None,
    ) -> Call:
        """The checked call, after autocast."""
        q, k, v = autocast(q, k, v)
        check_tensors(self.name, q, k, v)
        geometry = window_geometry(q.shape[1], q.shape[2], window, shift, dilation)
        if bias is not None:
            check_bias(self.name, q, bias, geometry)
        return Call(q, k, v, bias, geometry, q.shape[-1] ** -0.5 if scale is None else scale)


window_attention = WindowAttention("window_attention", WINDOW)
