"""Neighborhood attention, then a selective scan of what it gave.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.neighborhood import nearest
from visionattn.attention.padding import position_table
from visionattn.attention.qkv import QKVAttention, head_width
from visionattn.attention.rotary import Rotary
from visionattn.attention.selective_scan import SelectiveScan
from visionattn.kernels.geometry import as_pair
from visionattn.kernels.norm import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Float


class NeighborhoodScan(QKVAttention):
    """Local attention and state space (LASS): neighborhoods for details, a scan of their result for the whole map.

    Fu et al. 2024, *SegMAN: Omni-scale Context Modeling with State Space Models and Local Attention for Semantic
    Segmentation*, arXiv 2412.11890.

    Queries and keys are turned by the row and the column of their token, and a learned bias per relative position is
    added. What this attention gives passes a depthwise 3x3 convolution, a batch norm, SiLU, a :class:`SelectiveScan`
    and a layer norm, and is added to itself before them. A depthwise convolution of the values is added to that. Cost
    per query: ``2 * D * kernel_size**2`` multiply-adds and head, and the scan's, which is linear in tokens as well.

    A map smaller than the kernel is enlarged with zeros for the attention alone; the published code refuses it. Weight
    decay leaves the biases alone; the published code decays them.

    Args:
        dim: channels C.
        num_heads: heads N, of a width that 4 divides.
        index: ignored; all blocks are alike.
        kernel_size: keys along each side, one number or (height, width).
        state: numbers that a channel keeps in each direction of the scan.
        bias: learn a relative-position bias.
        lepe: side of the kernel of the convolution of the values; None: no convolution.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend of the attention by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, the heads' width none of 4, or ``state`` below 1.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters = position_tables = ("bias_table",)

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        kernel_size: int | tuple[int, int] = 7,
        state: int = 1,
        bias: bool = True,
        lepe: int | None = 5,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        rotary = Rotary(head_width(dim, num_heads), axial=True)
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=lepe, rotary=rotary)
        self.kernel_size, self.backend = as_pair("kernel_size", kernel_size), backend
        self.bias_table = position_table(num_heads, self.kernel_size) if bias else None
        self.conv, self.conv_norm = nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.BatchNorm2d(dim)
        self.ssm, self.norm = SelectiveScan(dim, state=state), LayerNorm(dim, eps=1e-6)

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        near = nearest(qkv, self.kernel_size, self.bias_table, self.backend)
        return near + self._scanned(near.flatten(3)).view(near.shape)

    def _scanned(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        convolved = F.silu(self.conv_norm(self.conv(x.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1)
        return self.norm(self.ssm(convolved))

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, num_heads={self.num_heads}"
