"""Common ways to compute attention, written as backends, so that they are checked and timed like the package's own.

``partition`` and ``partition sdpa``: windows are copied out, attended and copied back, as in the published CSWin and
MaxViT code. ``naive gather``: the keys of each query are gathered into memory, as in neighborhood attention without a
kernel. ``gathered copies``: each region gets copies of the keys and values of its listed regions, as in the published
code of BiFormer. ``flex``: torch's FlexAttention, compiled, with a bias that trains where torch can. ``natten``:
NATTEN, which has no bias.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from visionattn.kernels.backends import flex, natten
from visionattn.kernels.backends.xformers import dense_bias, from_windows, to_windows
from visionattn.kernels.geometry import Geometry
from visionattn.kernels.op import Backend
from visionattn.kernels.routed_op import Region, RoutedBackend, from_regions, in_regions


def partition(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Copy windows out, attend by two matrix products and a softmax, copy them back."""
    q_, k_, v_ = (to_windows(t, geometry).transpose(1, 2) for t in (q, k, v))
    logits = q_ * scale @ k_.mT
    if bias is not None:
        logits = logits + dense_bias(bias, geometry, 1, logits.shape[-1]).to(q.dtype)
    out = logits.softmax(-1) @ v_
    return from_windows(out.transpose(1, 2), geometry, q.shape[1], q.shape[2])


def partition_sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """The same as ``partition`` with torch's ``scaled_dot_product_attention``."""
    q_, k_, v_ = (to_windows(t, geometry).transpose(1, 2) for t in (q, k, v))
    mask = None if bias is None else dense_bias(bias, geometry, len(q_), q_.shape[2]).to(q.dtype)
    out = scaled_dot_product_attention(q_, k_, v_, attn_mask=mask, scale=scale)
    return from_windows(out.transpose(1, 2), geometry, q.shape[1], q.shape[2])


def not_tiled(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why plain windows cannot be cut out of this map, or an empty string."""
    rows, cols = geometry.rows, geometry.cols
    if not geometry.is_window:
        return "it is for windows"
    if rows.shift or cols.shift or q.shape[1] % (rows.size * rows.dilation) or q.shape[2] % (cols.size * cols.dilation):
        return "it needs whole, unshifted windows"
    return ""


def gather(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Copy the keys and values of each query side by side, ``(B, H * W, K, N, D)``, and attend."""
    height, width = q.shape[1:3]
    keys, entry = gather_index(geometry, height, width, q.device)
    near_k, near_v = k.flatten(1, 2)[:, keys], v.flatten(1, 2)[:, keys]
    logits = torch.einsum("bpnd,bpknd->bpnk", q.flatten(1, 2) * scale, near_k)
    if bias is not None:
        logits = logits + bias.flatten(1)[:, entry].transpose(0, 1).to(q.dtype)
    out = torch.einsum("bpnk,bpknd->bpnd", logits.softmax(-1), near_v)
    return out.unflatten(1, (height, width))


@lru_cache(maxsize=64)
def gather_index(geometry: Geometry, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Flat positions of the keys of each query, and their entries in the bias table, both ``(H * W, K)``."""
    lines = []
    for rule, length in ((geometry.rows, height), (geometry.cols, width)):
        group, coordinate, start, _ = rule.spans(length, device)
        near = start[:, None] + torch.arange(rule.size, device=device)
        lines.append((group[:, None] + near * rule.dilation, near - coordinate[:, None] + rule.size - 1))
    (row, down), (column, across) = lines
    keys = row[:, None, :, None] * width + column[None, :, None, :]
    entry = down[:, None, :, None] * (2 * geometry.cols.size - 1) + across[None, :, None, :]
    return keys.flatten(2).flatten(0, 1), entry.flatten(2).flatten(0, 1)


def not_a_neighborhood(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why keys cannot be gathered in equal numbers, or an empty string."""
    return "it is for neighborhoods" if geometry.is_window else ""


def gathered_copies(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
    """Gather keys and values from a view in which each region has those of all others, and attend."""
    asked, keys, values = (in_regions(t, region) for t in (q, k, v))
    regions, tokens = keys.shape[1:3]
    both = torch.cat([keys, values], dim=-1).flatten(3)[:, None].expand(-1, regions, -1, -1, -1)
    index = routes[..., None, None].expand(-1, -1, -1, tokens, both.shape[-1])
    copies = torch.gather(both, 2, index).flatten(2, 3).unflatten(-1, (q.shape[3], -1)).transpose(2, 3)
    near_k, near_v = copies.split((k.shape[4], v.shape[4]), dim=-1)
    out = (asked.transpose(2, 3) * scale @ near_k.mT).softmax(-1) @ near_v
    return from_regions(out.transpose(2, 3), region, q.shape[1:3])


def not_whole(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> str:
    """Why plain regions cannot be cut out of this map, or an empty string."""
    return "it needs whole regions" if q.shape[1] % region[0] or q.shape[2] % region[1] else ""


def flex_trained(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """FlexAttention with its own gradient of the bias, which is not reproducible."""
    return flex.run(q, k, v, bias, geometry, scale)


def not_for_flex(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why FlexAttention cannot run this call, even if bits may differ between runs, or an empty string."""
    kept = None if bias is None else bias.detach()
    if q.device.type == "cpu" and bias is not None and bias.requires_grad:
        return "FlexAttention has no backward on the CPU"
    return flex.refuses(q, k, v, kept, geometry, scale)


def natten_plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """NATTEN without the bias."""
    return natten.attend(q, k, v, None, geometry, scale)


def not_for_natten(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why NATTEN cannot run this call without its bias, or an empty string."""
    return not_a_neighborhood(q, k, v, bias, geometry, scale) or natten.refuses(q, k, v, None, geometry, scale)


BASELINES = (
    Backend("partition", partition, not_tiled),
    Backend("partition sdpa", partition_sdpa, not_tiled),
    Backend("naive gather", gather, not_a_neighborhood),
    Backend("flex compiled", flex_trained, not_for_flex),
    Backend("natten, no bias", natten_plain, not_for_natten),
)
ROUTED_BASELINES = (RoutedBackend("gathered copies", gathered_copies, not_whole),)
