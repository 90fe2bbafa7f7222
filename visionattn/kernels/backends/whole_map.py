"""Backend ``fused`` of ``window_attention``: torch's ``scaled_dot_product_attention``, one window over the whole map.

It holds no matrix of pairs, at any size. ``cpp`` comes before it, but takes up to 4,096 keys per query.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.geometry import Geometry, certainly
from visionattn.kernels.op import Backend


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Attention of every token to every token; see ``visionattn.kernels.op`` for the arguments."""
    queries, keys, values = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))  # (B, N, H * W, D)
    out = F.scaled_dot_product_attention(queries, keys, values, scale=scale)
    return out.transpose(1, 2).unflatten(1, q.shape[1:3])


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why torch's attention cannot run this call, or ""."""
    if bias is not None:
        return "torch's attention takes no position bias of a table"
    if geometry.decay:
        return "torch's attention knows no decay"
    for name, rule, length in (("rows", geometry.rows, q.shape[1]), ("columns", geometry.cols, q.shape[2])):
        if rule.dilation != 1 or rule.shift or not certainly(rule.size >= length):
            return f"it needs one window over the whole map: on the {name} window {rule.size} does not hold {length}"
    return ""


WINDOW = Backend("fused", attend, refuses)
