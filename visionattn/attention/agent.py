"""Attention through few tokens: agents gather from the map, and the map reads the agents.

Shapes: B batch, H W map, C channels, N heads, D head width, A agents, R S rows and columns of a stored map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.qkv import QKVAttention
from visionattn.attention.resizing import linear_resizing, mean_cells
from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.recording import report
from visionattn.kernels.tokens import RecordedRelay, token_attention

if TYPE_CHECKING:
    from jaxtyping import Float

COARSE = 7
"""Rows and columns of the coarse part of a bias, as published."""


class AgentBias(nn.Module):
    """A bias between each agent and each place of a map: a coarse map plus one number for each row and each column.

    Args:
        num_heads: heads N.
        side: agents along each side of the map; A is its square.
        map_size: rows and columns that are stored, those of the map in training.
        used: agents along each side that attend; where it differs from ``side``, the agents' axis is resized too.

    Shape:
        ``(H, W) -> (N, A, H * W)``, A the square of ``used``
    """

    position_tables = ("rows", "columns")
    no_weight_decay_parameters = ("coarse", "rows", "columns")

    def __init__(self, num_heads: int, side: int, map_size: int, used: int):
        super().__init__()
        self.side, self.used = side, used
        self.coarse = nn.Parameter(torch.empty(num_heads, side * side, COARSE, COARSE))
        self.rows = nn.Parameter(torch.empty(num_heads, side * side, map_size))
        self.columns = nn.Parameter(torch.empty(num_heads, side * side, map_size))
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, size: tuple[int, int]) -> Float[Tensor, "N A P"]:
        with autocast_disabled(self.coarse.device):
            coarse, rows, columns = (self._for_used(x) for x in (self.coarse, self.rows, self.columns))
            down, across = (linear_resizing(wanted, COARSE, coarse) for wanted in size)
            bias = down @ coarse @ across.T
            down, across = (linear_resizing(wanted, rows.shape[2], rows) for wanted in size)
            return (bias + (rows @ down.T)[..., None] + (columns @ across.T)[..., None, :]).flatten(2)

    @staticmethod
    def stretched(table: Tensor, own: Tensor) -> Tensor:
        """Stored rows or columns for a map of another size, when weights are loaded."""
        return table @ linear_resizing(own.shape[2], table.shape[2], table).T

    def _for_used(self, x: Tensor) -> Tensor:
        """A parameter ``(N, A, ...)`` for another number of agents."""
        if self.used == self.side:
            return x
        one = linear_resizing(self.used, self.side, x)
        return (torch.kron(one, one) @ x.flatten(2)).unflatten(2, x.shape[2:])


class AgentAttention(QKVAttention):
    """Attention of a map to itself through few tokens, each the mean query of a rectangle of the map.

    Han et al. 2023, *Agent Attention: On the Integration of Softmax and Linear Attention*, arXiv 2312.08874.

    Agents attend to all keys and gather values; then every token attends to the agents. Both softmaxes have a bias for
    each pair, and a depthwise 3x3 convolution of the values is added. Cost per query: ``4 * A * D`` multiply-adds and
    head, whatever the size of the map.

    As published the biases of rows and columns belong to the map of the training. On maps of other sizes they are
    resized linearly, which is what the published detection and segmentation code does; its larger number of agents
    there is ``used_agents``. The published classification code takes one size alone. With Swin as host it attends to
    one window, which is the whole map, without shift; so does this. Weight decay leaves the biases alone, as in the
    published detection code; the classification code decays them.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        agents: agents along each side of the map.
        map_size: rows and columns of the map in training, for which the biases are stored.
        used_agents: agents along each side that attend, where it is not ``agents``; the biases are resized.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or a number of agents or ``map_size`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        agents: int = 7,
        map_size: int = 14,
        used_agents: int | None = None,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=3)
        used = agents if used_agents is None else used_agents
        if min(agents, used, map_size) < 1:
            raise ValueError(
                f"agents, used_agents and map_size must be positive, got {agents}, {used_agents} and {map_size}"
            )
        self.agents, self.used_agents, self.backend = agents, used, backend
        self.gathering = AgentBias(num_heads, agents, map_size, used)
        self.spreading = AgentBias(num_heads, agents, map_size, used)

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        height, width = qkv.shape[1:3]
        means = mean_cells(qkv[:, :, :, 0].flatten(3), (self.used_agents, self.used_agents))
        agents = means.flatten(1, 2).unflatten(2, qkv.shape[4:])
        q, k, v = qkv.flatten(1, 2).unbind(2)
        gather, spread = self.gathering((height, width)), self.spreading((height, width)).transpose(1, 2)
        gathered = token_attention(agents, k, v, bias=gather, backend=self.backend)
        out = token_attention(q, agents, gathered, bias=spread, backend=self.backend)
        scale, grid = q.shape[3] ** -0.5, (height, width)
        report(lambda: RecordedRelay(q, k, v, out, None, agents, gather, spread, scale, grid))
        return out.unflatten(1, grid)

    def extra_repr(self) -> str:
        return f"agents={self.agents}, used_agents={self.used_agents}, num_heads={self.num_heads}"
