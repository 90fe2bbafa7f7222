"""The selective scan of a map in four directions: a state space model in place of attention.

Shapes: B batch, H W map, C channels, I inner channels, K = 4 directions, R rank of the steps, S states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.mixer import StageContext
from visionattn.kernels import selective_scan
from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.linear import Linear, linear
from visionattn.kernels.scan_op import scan_flops

if TYPE_CHECKING:
    from jaxtyping import Float

WAYS = 4
SMALLEST_STEP, LARGEST_STEP = 1e-3, 1e-1
"""Between these the steps start, evenly in their logarithm."""


class SelectiveScan(nn.Module):
    """Two-dimensional selective scan (SS2D).

    Liu et al. 2024, *VMamba: Visual State Space Model*, arXiv 2401.10166; in this form, with one state and neither gate
    nor norm: Fu et al. 2024, *SegMAN: Omni-scale Context Modeling with State Space Models and Local Attention for
    Semantic Segmentation*, arXiv 2412.11890.

    In each of four directions (rows, columns, and both from the end) every channel keeps S numbers that decay and take
    up what each token adds; how much of both, and how they are read, is projected from the token, for each direction
    apart. The directions and ``Ds * x`` are added. A token sees the whole map at a cost that is linear in its tokens:
    ``4 * C * (2 * R + 2 * S)`` multiply-adds of projections and about ``36 * C * S`` operations of the scan per token.
    Channels meet only in the steps, so a mixer that is nothing else is followed by a feed-forward network.

    Parameters have the names and shapes of the published code. There the projections follow the scan's order, of which
    the map is copied four times; here they are computed on the map. Decay rates and ``Ds`` get no weight decay, as
    the published code marks them.

    Args:
        dim: channels C.
        num_heads: ignored; there are none.
        index: ignored; all blocks are alike.
        state: numbers S that a channel keeps for each direction.
        rank: R, of the projection of steps; None: C / 16, rounded up.
        expansion: inner channels I per channel; if it is not 1, a projection leads there and one back.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``state`` or ``rank`` is below 1, or there is no inner channel.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters = ("A_logs", "Ds")

    def __init__(
        self,
        dim: int,
        num_heads: int = 1,
        index: int = 0,
        *,
        state: int = 1,
        rank: int | None = None,
        expansion: float = 1.0,
        backend: str = "auto",
    ):
        super().__init__()
        inner, rank = int(expansion * dim), math.ceil(dim / 16) if rank is None else rank
        if min(state, rank, inner) < 1:
            raise ValueError(
                f"a scan needs at least one state, rank and channel, got state {state}, rank {rank}, {inner} channels"
            )
        self.state, self.rank, self.backend = state, rank, backend
        self.without_softmax = True  # that a backend computes
        self.proj = Linear(dim, inner) if expansion != 1 else None
        self.yproj = Linear(inner, dim) if expansion != 1 else None
        self.x_proj_weight = nn.Parameter(torch.empty(WAYS * (rank + 2 * state), inner, 1))
        self.dt_projs_weight = nn.Parameter(torch.empty(WAYS, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(WAYS, inner))
        self.A_logs = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(WAYS * inner, 1))
        self.Ds = nn.Parameter(torch.ones(WAYS * inner))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections anew: steps of all sizes, of a variance that the rank does not change."""
        nn.init.uniform_(
            self.x_proj_weight, -(self.x_proj_weight.shape[1] ** -0.5), self.x_proj_weight.shape[1] ** -0.5
        )
        nn.init.uniform_(self.dt_projs_weight, -(self.rank**-0.5), self.rank**-0.5)
        nn.init.uniform_(self.dt_projs_bias, math.log(SMALLEST_STEP), math.log(LARGEST_STEP))
        with torch.no_grad():
            step = self.dt_projs_bias.exp()
            self.dt_projs_bias.copy_(step + (-(-step).expm1()).log())  # softplus gives these steps

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        if self.proj is None or self.yproj is None:
            return self.scan(x)
        return self.yproj(self.scan(self.proj(x)))

    def scan(self, x: Float[Tensor, "B H W I"]) -> Float[Tensor, "B H W I"]:
        """The four directions and the direct path, without the projections of an expansion."""
        inner = x.shape[3]
        chosen = linear(x, self.x_proj_weight.flatten(1)).unflatten(-1, (WAYS, -1))
        low, b, c = chosen.split([self.rank, self.state, self.state], dim=-1)
        delta = self._steps(low)
        with autocast_disabled(x.device):
            a = -self.A_logs.exp().view(WAYS, inner, self.state)
            direct = self.Ds.view(WAYS, inner).sum(0)
        scanned = selective_scan(x, delta, a, b, c, backend=self.backend)
        return scanned + direct.to(scanned.dtype) * x.to(scanned.dtype)

    def _steps(self, low: Float[Tensor, "B H W K R"]) -> Float[Tensor, "B H W K I"]:
        """What softplus makes the steps of: each direction has its own projection of its ``R`` numbers."""
        rows = low.flatten(0, 2).transpose(0, 1)
        delta = torch.baddbmm(self.dt_projs_bias[:, None], rows, self.dt_projs_weight.transpose(1, 2))
        return delta.transpose(0, 1).unflatten(0, low.shape[:3])

    def elementwise_macs(self, shape: Sequence[int]) -> int:
        """Multiply-adds of the scan, which runs on single numbers: half of its operations."""
        return scan_flops((*shape[:3], self.A_logs.shape[0] // WAYS), WAYS, self.state) // 2

    def extra_repr(self) -> str:
        return f"state={self.state}, rank={self.rank}"
