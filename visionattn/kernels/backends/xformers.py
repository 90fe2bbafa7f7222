"""xFormers' memory-efficient attention as a backend for windows that tile the map, where it is installed.

It attends inside batches of equal sequences: the map is cut into its windows (one copy each way), so lines must stand
at 0 and the windows, dilated or not, must fill the map. It returns no gradient for a bias, and it needs aligned bias
rows, made here by padding.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from visionattn.kernels.geometry import AxisRule, Geometry
from visionattn.kernels.op import Backend

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ALIGNMENT = 8
INSTALLED = find_spec("xformers") is not None


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Memory-efficient attention over the windows; see ``visionattn.kernels.op`` for the arguments."""
    from xformers.ops import memory_efficient_attention

    windows = [to_windows(t, geometry) for t in (q, k, v)]
    count, keys = windows[0].shape[:2]
    added = None if bias is None else dense_bias(bias, geometry, count, keys).to(q.dtype)
    out = memory_efficient_attention(*windows, attn_bias=added, scale=scale)
    return from_windows(out, geometry, q.shape[1], q.shape[2])


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why xFormers cannot run this call, or ""."""
    if not INSTALLED:
        return "the package xformers is not installed"
    if geometry.decay:
        return "xformers knows no decay"
    if not q.is_cuda:
        return f"xformers' kernels run on CUDA devices, and the tensors are on {q.device}"
    if q.dtype not in DTYPES:
        return f"xformers computes in float32, bfloat16 or float16, and the tensors are {q.dtype}"
    if bias is not None and torch.is_grad_enabled() and bias.requires_grad:
        return "xformers gives no gradient for a bias table"
    for name, rule, length in (("rows", geometry.rows, q.shape[1]), ("columns", geometry.cols, q.shape[2])):
        if rule.shift or length % (rule.size * rule.dilation):
            return (
                f"xformers needs whole windows: on the {name} window {rule.size}, dilation {rule.dilation}, "
                f"shift {rule.shift} do not tile {length} positions"
            )
    return ""


def to_windows(x: Tensor, geometry: Geometry) -> Tensor:
    """(B, H, W, N, D) -> (B * windows, keys, N, D)."""
    rows, cols = geometry.rows, geometry.cols
    x = x.unflatten(2, (-1, cols.size, cols.dilation)).unflatten(1, (-1, rows.size, rows.dilation))
    # (B, window row, row, group row, window column, column, group column, N, D): windows and groups first, points last
    x = x.permute(0, 1, 3, 4, 6, 2, 5, 7, 8)
    return x.flatten(5, 6).flatten(0, 4)


def from_windows(x: Tensor, geometry: Geometry, height: int, width: int) -> Tensor:
    """The inverse of ``to_windows``."""
    rows, cols = geometry.rows, geometry.cols
    lines = (height // (rows.size * rows.dilation), rows.dilation, width // (cols.size * cols.dilation), cols.dilation)
    x = x.unflatten(0, (-1, *lines)).unflatten(5, (rows.size, cols.size))
    return x.permute(0, 1, 5, 2, 3, 6, 4, 7, 8).flatten(4, 6).flatten(1, 3)


def dense_bias(bias: Tensor, geometry: Geometry, count: int, keys: int) -> Tensor:
    """The table (N, 2wh-1, 2ww-1) as logits (count, N, keys, keys), a view over windows whose rows are aligned."""
    down, across = _offsets(geometry.rows, bias.device), _offsets(geometry.cols, bias.device)
    dense = bias[:, down[:, None, :, None], across[None, :, None, :]].flatten(3, 4).flatten(1, 2)
    padded = torch.nn.functional.pad(dense, (0, -keys % ALIGNMENT))
    return padded[..., :keys].expand(count, -1, -1, -1)


def _offsets(rule: AxisRule, device: torch.device) -> Tensor:
    """(size, size): table index of query (row) and key (column)."""
    offset = torch.arange(rule.size, device=device)
    return offset[None, :] - offset[:, None] + rule.size - 1


WINDOW = Backend("xformers", attend, refuses)
