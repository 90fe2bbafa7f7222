"""timm's window attention, from roll to roll, without its two linear layers.

timm computes q, k and v after it partitions the map into windows. Here it gets them in that layout, and the projection
is left out, as for all methods. The time of timm includes rolling and partitioning its input, its bias and mask,
attention, and reversing the partition.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor, nn

from visionattn.kernels.op import Call


class Given(nn.Module):
    """Replacement of timm's qkv layer that returns a given tensor."""

    def __init__(self, packed: Tensor) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        return self.packed


def refuses(call: Call) -> str:
    """Why timm's Swin block cannot run this call, or an empty string."""
    rows, cols = call.geometry.rows, call.geometry.cols
    if find_spec("timm") is None:
        return "the package timm is not installed"
    if not call.geometry.is_window or rows.dilation > 1 or cols.dilation > 1 or call.bias is None:
        return "timm's Swin block has windows with a bias, without dilation"
    if call.q.shape[1] % rows.size or call.q.shape[2] % cols.size:
        return "timm's Swin block would pad this map"
    return ""


def prepare(call: Call, fused: bool, train: bool) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Prepare timm's block for the q, k and v of a call.

    Returns:
        A function that returns ``(B, H, W, N * D)``, and the leaves of its gradients: the packed windows
        ``(B * windows, keys, 3 * N * D)`` and timm's bias table.
    """
    from timm.layers import use_fused_attn
    from timm.models.swin_transformer import SwinTransformerBlock, window_partition

    batch, height, width, heads, depth = call.q.shape
    size = call.geometry.rows.size, call.geometry.cols.size
    shift = call.geometry.rows.shift, call.geometry.cols.shift
    block: Any = SwinTransformerBlock(
        heads * depth, (height, width), heads, window_size=size, shift_size=cast(int, shift), always_partition=True
    ).to(call.q.device, call.q.dtype)
    packed = torch.stack((call.q, call.k, call.v), 3).flatten(3)
    rolled = torch.roll(packed, (-shift[0], -shift[1]), (1, 2))
    windows = window_partition(rolled, size).flatten(1, 2).detach().requires_grad_(train)
    attention = block.attn
    attention.fused_attn = fused and bool(use_fused_attn())
    attention.qkv, attention.proj = Given(windows), nn.Identity()
    bias = cast(Tensor, call.bias)
    with torch.no_grad():  # timm's index is query minus key, ours key minus query
        table = attention.relative_position_bias_table
        table.copy_(bias.flip(1, 2).flatten(1).T)
    table.requires_grad_(train)
    x = torch.zeros(batch, height, width, heads * depth, device=call.q.device, dtype=call.q.dtype)
    return lambda: block._attn(x), [windows, table]
